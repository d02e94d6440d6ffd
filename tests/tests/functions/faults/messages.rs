//! A part of the campaign `cargo xtask faults`: every eighth answer of the database and the answer to every COMMIT is lost, and so is
//! the answer to the last request to S3; then the step runs again. The campaign itself takes every message away in every way.

use onceload_tests::faults::{Fault, SUBJECTS, Scope, run_subject};
use onceload_tests::objects::RequestFault;
use onceload_tests::wire::Cut;

/// Runs the subjects whose names begin so.
async fn lose_answers(prefixes: &[&str]) {
    let scope = Scope {
        everywhere: vec![(Fault::Wire(Cut::After), 8)],
        at_commits: Vec::new(),
        // The last one only.
        at_s3: vec![(Fault::S3(RequestFault::Lost), usize::MAX)],
        only: None,
        at_a_time: 2,
    };
    let mut failures = Vec::new();
    let (mut ran, mut faults) = (0, 0);
    for subject in
        SUBJECTS.iter().filter(|subject| prefixes.iter().any(|prefix| subject.name.starts_with(prefix)))
    {
        let report = run_subject(subject, &scope).await;
        ran += 1;
        faults += report.faults;
        failures.extend(report.failures);
    }
    assert!(ran >= prefixes.len() && faults > ran, "{faults} answers of {ran} steps were lost");
    assert!(failures.is_empty(), "run `cargo xtask faults` with\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_opens_once_whatever_answer_is_lost() {
    lose_answers(&["open"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_loaded_once_whatever_answer_is_lost() {
    lose_answers(&["load"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_marked_once_whatever_answer_is_lost() {
    lose_answers(&["mark", "validate", "await-approval"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_inserted_once_whatever_answer_is_lost() {
    lose_answers(&["insert", "verify"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_once_whatever_answer_is_lost() {
    lose_answers(&["close"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_is_done_once_whatever_answer_is_lost() {
    lose_answers(&["rollback", "export"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_over_is_cleared_once_whatever_answer_is_lost() {
    lose_answers(&["sweep", "expire", "migrate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_over_http_is_made_once_whatever_answer_is_lost() {
    lose_answers(&["post-communities", "post-join", "post-queue", "post-migrations"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_over_http_is_taken_once_whatever_answer_is_lost() {
    lose_answers(&["post-approve", "post-cancel", "post-retry", "post-mend"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_maintenance_over_http_happen_once_whatever_answer_is_lost() {
    lose_answers(&[
        "post-uploads",
        "post-complete",
        "post-check",
        "post-rollback",
        "post-verify",
        "post-exports",
        "delete",
    ])
    .await;
}
