//! Imports whose execution could not register a job, or that EventBridge could not start, are started by the sweep.

use crate::csv;
use crate::merchant::Merchant;
use crate::stack::until;
use crate::sweep::sweep;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::value;
use onceload_tests::execution::upload_event;
use serde_json::{Value, json};

async fn count_jobs(merchant: &Merchant) -> String {
    let sql =
        format!("SELECT count(*) FROM onceload.codes_import_jobs WHERE merchant_id = '{}'", merchant.id);
    value(&merchant.db, &sql).await
}

#[tokio::test]
async fn an_upload_whose_job_can_t_be_registered_is_started_again_by_the_sweep() {
    let merchant = Merchant::new("unregistered").await;
    let name = format!("onceload.refuse_{}", merchant.id.simple());
    let defect = format!(
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a defect'; END $$;
         CREATE TRIGGER a_defect_{0} BEFORE INSERT ON onceload.codes_import_jobs FOR EACH ROW
           WHEN (NEW.merchant_id = '{1}') EXECUTE FUNCTION {name}()",
        merchant.id.simple(),
        merchant.id
    );
    merchant.db.batch_execute(&defect).await.expect("a defect");
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..60))).await;
    let failed = merchant.wait_for_execution().await;
    assert_eq!((&failed.status, failed.error.as_str()), (&ExecutionStatus::Failed, "Internal"), "{failed:?}");
    assert_eq!(count_jobs(&merchant).await, "0");

    merchant.db.batch_execute(&format!("DROP FUNCTION {name}() CASCADE")).await.expect("mended");
    // The schedule's sweep may be quicker.
    until("an import", async || {
        sweep(&merchant).await;
        (count_jobs(&merchant).await == "1").then_some(())
    })
    .await;
    let job = merchant.only_import().await;
    merchant.wait_for_status(&job, "awaiting_approval").await;
    assert!(merchant.running_execution(&job).await.ends_with("-again-1"));
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!((&done["attempt"], &done["error_message"]), (&json!(1), &Value::Null));
    sweep(&merchant).await;
    assert_eq!(
        (merchant.count_codes_of(&job).await, merchant.wait_for_rest().await),
        (60, 2),
        "started again once"
    );
}

/// A sweep that is killed after it has started an import leaves the message, and EventBridge may deliver what it also gave up.
#[tokio::test]
async fn an_event_that_waits_in_the_queue_twice_is_started_once() {
    let merchant = Merchant::new("dead letter").await;
    let key = merchant.key("import", "a.csv");
    let version = merchant.put(&key, csv::file(&csv::codes("A", 0..60))).await;
    let job = merchant.only_import().await;
    merchant.wait_for_status(&job, "awaiting_approval").await;
    let queues = merchant.stack.sqs("ListQueues", json!({})).await;
    let queue = queues["QueueUrls"].as_array().expect("queues").iter();
    let queue =
        queue.filter_map(Value::as_str).find(|url| url.contains("UnregisteredImports")).expect("the queue");
    let event = upload_event(&merchant.stack.file.bucket, &key, &version);
    for _ in 0..2 {
        let message = json!({ "QueueUrl": queue, "MessageBody": event.to_string() });
        assert!(merchant.stack.sqs("SendMessage", message).await["MessageId"].is_string());
    }
    let execution = merchant.running_execution(&job).await;
    let (executions, _) = execution.rsplit_once(':').expect("an ARN");
    let again = format!("{executions}:{}-again-1", event["id"].as_str().expect("an id"));
    until("an execution", async || {
        sweep(&merchant).await;
        let found = merchant.stack.states.describe_execution().execution_arn(&again).send().await;
        found.is_ok().then_some(())
    })
    .await;
    sweep(&merchant).await;
    let ended = merchant.wait_for_end(&again).await;
    assert_eq!(ended.output["status"], json!("no_op"), "{ended:?}");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    assert_eq!(count_jobs(&merchant).await, "1");
    assert_eq!(
        (merchant.count_codes_of(&job).await, merchant.wait_for_rest().await),
        (60, 2),
        "started once"
    );
}
