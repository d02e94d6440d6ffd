//! The sweep closes abandoned imports, which can be retried, and delivers lost messages.

use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::until;
use crate::sweep::sweep;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::{rows, value};
use serde_json::{Value, json};

/// The execution is stopped by hand, so the sweep fails the job and names the reason. A retry continues with the loaded
/// files.
#[tokio::test]
async fn an_aborted_execution_fails_its_job_and_a_retry_completes_it() {
    let merchant = Merchant::new("aborted").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let execution = format!("SELECT execution_arn FROM onceload.codes_import_jobs WHERE id = '{job}'");
    let execution = value(&merchant.db, &execution).await;
    let stopped = merchant.stack.states.stop_execution().execution_arn(&execution).send().await;
    stopped.expect("the execution is stopped");
    assert_eq!(merchant.wait_for_end(&execution).await.status, ExecutionStatus::Aborted);

    let earlier = format!(
        "UPDATE onceload.codes_import_jobs SET updated_at = updated_at - interval '1 hour',
                heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = '{job}'"
    );
    merchant.db.batch_execute(&earlier).await.expect("an hour goes by");
    sweep(&merchant).await;
    let failed = merchant.wait_for_status(&job, "failed").await;
    assert!(failed["error_message"].as_str().is_some_and(|says| says.contains("ABORTED")), "{failed:#}");
    let loaded = format!("SELECT loaded_at FROM onceload.import_files WHERE job_id = '{job}'");
    let before = rows(&merchant.db, &loaded).await;

    let answer = merchant.post(&format!("/imports/{job}/retry"), "").await;
    assert_eq!((answer.status, &answer.body["attempt"]), (202, &json!(2)), "{answer:?}");
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [60, 60, 60]);
    assert_eq!(waiting["error_message"], Value::Null, "the retry clears the error");
    assert_eq!(rows(&merchant.db, &loaded).await, before, "nothing is loaded again");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!((&done["attempt"], &done["verification"]["verified"]), (&json!(2), &json!(true)));
    let execution = format!("SELECT execution_arn FROM onceload.codes_import_jobs WHERE id = '{job}'");
    let execution = value(&merchant.db, &execution).await;
    assert!(execution.ends_with(&format!(":{job}-2")), "{execution}");
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (60, 2));
}

/// The approval is committed, and its function dies before it wakes the execution. The sweep wakes it.
#[tokio::test]
async fn an_undelivered_approval_is_delivered_by_the_sweep() {
    let merchant = Merchant::new("not delivered").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let user = &merchant.stack.file.users[0].user_id;
    let approval = format!(
        "BEGIN;
         UPDATE onceload.codes_import_jobs SET status = 'processing', phase = 'inserting', leased = true,
                approved_at = now(), approved_by = '{user}', approved_clean = total_codes_to_insert,
                approved_checksum = clean_checksum, updated_at = now() WHERE id = '{job}';
         INSERT INTO onceload.outbox (job_id, kind, payload)
         SELECT '{job}', kind, payload FROM (VALUES ('task_success', '{{\"attempt\": 1}}'::jsonb)) AS m (kind, payload);
         COMMIT"
    );
    merchant.db.batch_execute(&approval).await.expect("an approval");
    until("a completed import", async || {
        sweep(&merchant).await;
        (merchant.import(&job).await["status"] == json!("completed")).then_some(())
    })
    .await;
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (60, 1));
}

/// Somebody stopped the execution while it waited. The approval starts the next attempt, and stands.
#[tokio::test]
async fn an_approval_that_finds_its_execution_stopped_starts_the_next_attempt() {
    let merchant = Merchant::new("stopped while it waited").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let execution = merchant.running_execution(&job).await;
    merchant.stack.states.stop_execution().execution_arn(&execution).send().await.expect("a stop");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let done = merchant.wait_for_status_unasked(&job, "completed").await;
    assert_eq!((&done["attempt"], &done["verification"]["verified"]), (&json!(2), &json!(true)));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (60, 2));
}
