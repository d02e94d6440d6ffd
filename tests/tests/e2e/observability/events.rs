//! The events that an import publishes: `ImportStateChanged` on EventBridge.

use crate::merchant::Merchant;
use crate::stack::until;
use aws_sdk_eventbridge::types::Target;
use serde_json::{Value, json};

#[tokio::test]
async fn waiting_and_final_states_are_announced() {
    let merchant = Merchant::new("events").await;
    let (stack, id) = (&merchant.stack, merchant.id);
    let name = format!("e2e-{id}");
    let queue = stack.sqs("CreateQueue", json!({ "QueueName": name })).await["QueueUrl"].clone();
    let attributes = json!({ "QueueUrl": queue, "AttributeNames": ["QueueArn"] });
    let arn = stack.sqs("GetQueueAttributes", attributes).await["Attributes"]["QueueArn"].clone();
    let arn = arn.as_str().expect("the queue's ARN");
    let pattern = json!({ "source": ["onceload"], "detail-type": ["ImportStateChanged"],
                          "detail": { "merchant_id": [id] } });
    stack.events.put_rule().name(&name).event_pattern(pattern.to_string()).send().await.expect("a rule");
    let target = Target::builder().id("queue").arn(arn).build().expect("a target");
    stack.events.put_targets().rule(&name).targets(target).send().await.expect("a target");

    let file = "code,points\nNULL,1\nA-1\nA-2,x\nA-3,1\n";
    let job = merchant.upload_for_approval("a.csv", file.as_bytes().to_vec()).await;
    assert_eq!(merchant.approve(&job, 3).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    let refused = merchant.start_execution(&json!({ "merchant_id": id })).await;
    merchant.wait_for_end(&refused).await;

    let mut heard: Vec<Value> = Vec::new();
    until("three events", async || {
        let receive = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 });
        let received = stack.sqs("ReceiveMessage", receive).await;
        for message in received["Messages"].as_array().into_iter().flatten() {
            let body = message["Body"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            heard.push(body.expect("an event")["detail"].clone());
            let receipt = json!({ "QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"] });
            stack.sqs("DeleteMessage", receipt).await;
        }
        (heard.len() >= 3).then_some(())
    })
    .await;
    heard.sort_by_key(|event| event["status"].to_string());
    let statuses: Vec<_> = heard.iter().filter_map(|event| event["status"].as_str()).collect();
    assert_eq!(statuses, ["awaiting_approval", "completed", "failed"]);
    for event in &heard[..2] {
        assert_eq!((&event["job_id"], &event["counts"]["clean"]), (&json!(job), &json!(3)), "{event}");
        assert!(event.get("insert_estimate_seconds").is_some(), "{event}");
        // Counts, and never a code.
        assert_eq!(
            event["warnings"],
            json!({ "absent_columns": 7, "null_like_code": 1, "short_records": 1 })
        );
        assert_eq!(event["rejected_by_reason"], json!({ "invalid_points": 1 }));
    }
    assert_eq!(heard[1]["counts"]["inserted"], json!(3));
    assert!(heard[2]["error_message"].is_string(), "{}", heard[2]);
    stack.events.remove_targets().rule(&name).ids("queue").send().await.expect("the target goes");
    stack.events.delete_rule().name(&name).send().await.expect("the rule goes");
    stack.sqs("DeleteQueue", json!({ "QueueUrl": queue })).await;
    merchant.wait_for_rest().await;
}
