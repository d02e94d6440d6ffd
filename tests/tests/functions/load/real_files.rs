//! Files as people send them: what is silently wrong in other importers is a reject, or a fault, here.

use onceload_tests::{State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;

/// Imports a file of which nothing can be staged, and returns its job.
async fn import_nothing(world: &World, name: &str, text: &'static str) -> serde_json::Value {
    let mut run = world.import_file(name, text);
    let error = run.until(State::MarkDuplicates).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected, "{name}: {error}");
    assert!(error.message.starts_with("nothing_staged: "), "{name}: {error}");
    run.close_caught("FileRejected", &error.message).await.unwrap();
    world.read_job(run.job).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_which_nothing_is_staged_has_failed() {
    let world = World::new().await;
    for (name, text, detail) in [
        ("rejected.csv", "code,points\nA,x\nB,y\n", "2 of 2 records were rejected (invalid_points 2)"),
        ("commas.csv", "code\nAB,CD\nEF,GH\n\n", "2 of 2 records were rejected (extra_fields 2)"),
        ("blank.csv", "code,points\n,\n,\n\n", "no records"),
    ] {
        let job = import_nothing(&world, name, text).await;
        assert_eq!(job["status"], "failed", "{name}");
        assert_eq!(job["error_message"], format!("nothing_staged: {detail}"), "{name}");
        assert_eq!(
            job["validation_errors"],
            json!([{ "reason": "nothing_staged", "detail": detail }]),
            "{name}"
        );
    }
}

/// One file without a good record is no fault of an import that has others.
#[tokio::test(flavor = "multi_thread")]
async fn a_wholly_rejected_file_among_good_ones_is_no_fault() {
    let world = World::new().await;
    let files = [world.upload("a.csv", "code,points\nA,x\n"), world.upload("b.csv", "code\nB\n")];
    let mut run = world.import_objects(&[&files[0], &files[1]]);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_another_delimiter_than_the_header_reject_the_file() {
    let world = World::new().await;
    for (name, text) in [
        ("rows.csv", "code,points\nAA-1;10\nAA-2;20\n"),
        ("quoted.csv", "code,points\n\"AM-1,10\"\n\"AM-2,20\"\n"),
    ] {
        let mut run = world.import_file(name, text);
        let error = run.until(State::MarkDuplicates).await.error();
        assert_eq!(error.kind, StepErrorKind::FileRejected, "{error}");
        assert!(error.message.contains("delimiter_mismatch"), "{error}");
        run.close_caught("FileRejected", &error.message).await.unwrap();
        let job = world.read_job(run.job).await;
        assert_eq!(job["validation_errors"][0]["reason"], "delimiter_mismatch");
        assert_eq!(job["validation_errors"][0]["line"], 2);
    }
    assert_eq!(world.count_codes().await, 0);
}

/// RFC 8878 section 3.1.2: parallel compressors put a skippable frame first.
#[tokio::test(flavor = "multi_thread")]
async fn a_zstd_file_may_begin_with_a_skippable_frame() {
    let world = World::new().await;
    let mut body = b"\x50\x2a\x4d\x18\x04\0\0\0size".to_vec();
    body.extend(zstd::encode_all(&b"code\nA\nB\n"[..], 1).unwrap());
    world.import_to_end("parallel.csv.zst", body).await;
    assert_eq!(world.count_codes().await, 2);
}

/// More blank lines than inspection fetches, behind a byte order mark, and a header that begins with one of its bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_behind_many_blank_lines_is_found() {
    let world = World::new().await;
    let blank = "\n".repeat(700_000);
    world.import_to_end("late.csv", format!("\u{feff}{blank}\u{ff43},code\nx,A\ny,B\n")).await;
    assert_eq!(world.count_codes().await, 2);
    let mut run = world.import_file("blank.csv", blank);
    assert!(run.until(State::LoadFiles).await.error().message.contains("empty_file"));
}
