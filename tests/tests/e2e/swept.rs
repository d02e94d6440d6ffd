//! What nobody finished: the sweep finds it, and the import can be tried again.

use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::{rows, until, value};
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

/// Runs `sweep-imports` now, as its schedule does every five minutes.
pub async fn sweep(merchant: &Merchant) {
    let functions = format!("{}/2015-03-31/functions", merchant.stack.file.aws_endpoint_url);
    let region = merchant.stack.file.region.clone();
    let swept = tokio::task::spawn_blocking(move || {
        // The engine looks at the scope only.
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/lambda/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut listed = ureq::get(format!("{functions}/")).header("authorization", &scope).call()?;
        let listed: Value = listed.body_mut().read_json()?;
        let names = listed["Functions"].as_array().expect("functions").iter();
        let mut names = names.filter_map(|function| function["FunctionName"].as_str());
        let name = names.find(|name| name.contains("SweepImports")).expect("sweep-imports");
        let mut answer = ureq::post(format!("{functions}/{name}/invocations"))
            .header("authorization", &scope)
            .send("{}")?;
        answer.body_mut().read_json::<Value>()
    });
    let swept = swept.await.expect("the call").expect("an answer");
    // A failure of any part is an error of the function, with an `errorType` instead.
    assert!(swept["delivered"].is_u64(), "{swept}");
}

/// Somebody stops the execution by hand: nobody will ever wake the job. It fails, says why, and a retry goes on
/// with what is loaded.
#[tokio::test]
async fn an_aborted_execution_fails_its_job_and_a_retry_goes_on() {
    let merchant = Merchant::new("aborted").await;
    let job = merchant.awaiting("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let execution = format!("SELECT execution_arn FROM codes_import_jobs WHERE id = '{job}'");
    let execution = value(&merchant.db, &execution).await;
    let stopped = merchant.stack.states.stop_execution().execution_arn(&execution).send().await;
    stopped.expect("the execution is stopped");
    assert_eq!(merchant.ended(&execution).await.status, ExecutionStatus::Aborted);

    sweep(&merchant).await;
    assert_eq!(
        merchant.import(&job).await["status"],
        json!("awaiting_approval"),
        "it was silent for a moment only"
    );
    let earlier = format!(
        "UPDATE codes_import_jobs SET updated_at = updated_at - interval '1 hour',
                heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = '{job}'"
    );
    merchant.db.batch_execute(&earlier).await.expect("an hour goes by");
    sweep(&merchant).await;
    let failed = merchant.reaches(&job, "failed").await;
    assert!(failed["error_message"].as_str().is_some_and(|says| says.contains("ABORTED")), "{failed:#}");
    let loaded = format!("SELECT loaded_at FROM import_files WHERE job_id = '{job}'");
    let before = rows(&merchant.db, &loaded).await;

    let answer = merchant.post(&format!("/imports/{job}/retry"), "").await;
    assert_eq!((answer.status, &answer.body["attempt"]), (202, &json!(2)), "{answer:?}");
    let waiting = merchant.reaches(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [60, 60, 60]);
    assert_eq!(waiting["error_message"], Value::Null, "the old error is over");
    assert_eq!(rows(&merchant.db, &loaded).await, before, "nothing is loaded again");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let done = merchant.reaches(&job, "completed").await;
    assert_eq!((&done["attempt"], &done["verification"]["verified"]), (&json!(2), &json!(true)));
    let execution = format!("SELECT execution_arn FROM codes_import_jobs WHERE id = '{job}'");
    let execution = value(&merchant.db, &execution).await;
    assert!(execution.ends_with(&format!(":{job}-2")), "{execution}");
    assert_eq!((merchant.codes_of(&job).await, merchant.at_rest().await), (60, 2));
}

/// The approval is committed, but what should have woken the execution died before it could: the sweep does it.
#[tokio::test]
async fn an_approval_that_was_not_delivered_is_delivered() {
    let merchant = Merchant::new("not delivered").await;
    let job = merchant.awaiting("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let user = &merchant.stack.file.users[0].user_id;
    let approval = format!(
        "BEGIN;
         UPDATE codes_import_jobs SET status = 'processing', phase = 'inserting', leased = true,
                approved_at = now(), approved_by = '{user}', updated_at = now() WHERE id = '{job}';
         INSERT INTO outbox (job_id, kind, payload)
         SELECT '{job}', kind, payload FROM (VALUES ('task_success', '{{\"attempt\": 1}}'::jsonb)) AS m (kind, payload);
         COMMIT"
    );
    merchant.db.batch_execute(&approval).await.expect("an approval");
    until("a completed import", async || {
        sweep(&merchant).await;
        (merchant.import(&job).await["status"] == json!("completed")).then_some(())
    })
    .await;
    assert_eq!((merchant.codes_of(&job).await, merchant.at_rest().await), (60, 1));
}
