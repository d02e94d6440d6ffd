//! The one decision that a person makes, and what may not be decided.

use crate::csv;
use crate::merchant::{Merchant, counts, id_of};
use crate::stack::value;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

#[tokio::test]
async fn an_approval_must_be_meant() {
    let merchant = Merchant::new("refused approvals").await;
    let job = merchant.awaiting("a.csv", csv::file(&csv::codes("A", 0..50))).await;
    let path = format!("/imports/{job}/approve");
    let yes = json!({ "confirm": "YES", "clean_count": 50 });

    let stack = &merchant.stack;
    assert_eq!(stack.post(None, &path, &yes).await.status, 401);
    assert_eq!(stack.post(Some("no.real.token"), &path, &yes).await.status, 401);
    let stranger = Some(stack.token(1));
    // Not a member: what is asked is not even looked at.
    for body in [yes.to_string(), "{".into(), json!({ "confirm": "no" }).to_string()] {
        let answer = stack.post(stranger, &path, body).await;
        assert_eq!(
            (answer.status, answer.body["type"].as_str()),
            (404, Some("urn:onceload:problem:not-found"))
        );
    }
    assert_eq!(stack.post(stranger, &format!("/imports/{job}/cancel"), "").await.status, 404);
    assert_eq!(stack.post(stranger, &format!("/imports/{job}/retry"), "").await.status, 404);
    assert_eq!(stack.get(stranger, &format!("/imports/{job}")).await.status, 404);
    assert_eq!(stack.get(stranger, &format!("/imports/{job}/files")).await.status, 404);

    for (body, status, name) in [
        (json!({ "confirm": "yes", "clean_count": 50 }), 422, "invalid-request"),
        (json!({ "confirm": "DELETE", "clean_count": 50 }), 422, "invalid-request"),
        (json!({ "confirm": "YES" }), 422, "invalid-request"),
        (json!({ "confirm": "YES", "clean_count": "50" }), 422, "invalid-request"),
        (json!({ "confirm": "YES", "clean_count": 49 }), 409, "wrong-count"),
        (json!({ "confirm": "YES", "clean_count": 0 }), 409, "wrong-count"),
    ] {
        let answer = merchant.post(&path, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(answer.body["type"], json!(format!("urn:onceload:problem:{name}")), "{body}");
    }
    let wrong = merchant.approve(&job, 49).await;
    assert_eq!(wrong.body["clean"], json!(50), "it says what the right count is");
    assert_eq!(merchant.import(&job).await["status"], json!("awaiting_approval"));
    assert_eq!(merchant.code_count().await, 0);

    let (first, second) = tokio::join!(merchant.approve(&job, 50), merchant.approve(&job, 50));
    assert_eq!((first.status, second.status), (202, 202), "the same approval is the same answer");
    assert_eq!(merchant.approve(&job, 50).await.status, 202);
    merchant.reaches(&job, "completed").await;
    assert_eq!(merchant.approve(&job, 50).await.status, 202, "also when it is done");
    assert_eq!(merchant.code_count().await, 50);

    // What is over stays as it is.
    let other = merchant.approve(&job, 49).await;
    assert_eq!((other.status, &other.body["job_status"]), (409, &json!("completed")), "{other:?}");
    for action in ["cancel", "retry"] {
        let answer = merchant.post(&format!("/imports/{job}/{action}"), "").await;
        assert_eq!((answer.status, &answer.body["job_status"]), (409, &json!("completed")), "{answer:?}");
    }
    assert_eq!(merchant.import(&job).await["status"], json!("completed"));
    assert_eq!((merchant.code_count().await, merchant.at_rest().await), (50, 1));
}

#[tokio::test]
async fn many_duplicates_must_be_accepted() {
    let merchant = Merchant::new("blocked").await;
    let codes = csv::codes("A", 0..100);
    merchant.has(&codes[..60]).await;
    let job = merchant.awaiting("a.csv", csv::file(&codes)).await;
    assert_eq!(merchant.import(&job).await["blocked"], json!(true));
    let refused = merchant.approve(&job, 40).await;
    assert_eq!((refused.status, refused.body["type"].as_str()), (409, Some("urn:onceload:problem:blocked")));
    assert!(
        refused.body["detail"].as_str().is_some_and(|says| says.contains("accept_duplicates")),
        "{refused:?}"
    );
    assert_eq!(merchant.import(&job).await["status"], json!("awaiting_approval"));

    let accepted = json!({ "confirm": "YES", "clean_count": 40, "accept_duplicates": true });
    assert_eq!(merchant.post(&format!("/imports/{job}/approve"), accepted).await.status, 202);
    let done = merchant.reaches(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "merchant_total"]), [40, 100]);
    merchant.at_rest().await;
}

#[tokio::test]
async fn a_waiting_import_is_cancelled_at_once() {
    let merchant = Merchant::new("cancelled").await;
    let job = merchant.awaiting("a.csv", csv::file(&csv::codes("A", 0..50))).await;
    let answer = merchant.cancel(&job).await;
    assert_eq!((answer.status, &answer.body["status"]), (202, &json!("cancelled")), "{answer:?}");
    let ended = merchant.execution_of(&job).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
    assert_eq!((&ended.output["job_id"], &ended.output["status"]), (&json!(job), &json!("cancelled")));
    assert_eq!(merchant.cancel(&job).await.status, 202, "the same again is the same answer");
    for (action, body) in
        [("approve", json!({ "confirm": "YES", "clean_count": 50 })), ("retry", Value::Null)]
    {
        let answer = merchant.post(&format!("/imports/{job}/{action}"), body).await;
        assert_eq!(
            (answer.status, &answer.body["job_status"]),
            (409, &json!("cancelled")),
            "{action}: {answer:?}"
        );
    }
    assert_eq!((merchant.code_count().await, merchant.at_rest().await), (0, 1));
}

/// Either all of the codes or none, whoever was first; and who was told yes was right.
#[tokio::test]
async fn approve_against_cancel() {
    const ROUNDS: usize = 8;
    let merchant = Merchant::new("approve against cancel").await;
    let other = Merchant::on(merchant.stack.clone(), "approve against cancel too").await;
    let outcomes = tokio::join!(races(&merchant, 0..ROUNDS / 2), races(&other, ROUNDS / 2..ROUNDS));
    for (merchant, completed) in [(&merchant, outcomes.0), (&other, outcomes.1)] {
        assert_eq!(merchant.code_count().await, 20 * completed);
        merchant.at_rest().await;
    }
}

async fn races(merchant: &Merchant, rounds: std::ops::Range<usize>) -> u64 {
    let mut completed = 0;
    for (number, round) in rounds.enumerate() {
        let codes = csv::codes(&format!("R{round}"), 0..20);
        merchant.put(&merchant.key("import", &format!("{round}.csv")), csv::file(&codes)).await;
        let job = id_of(merchant.imports(number + 1).await.last().expect("an import"));
        merchant.reaches(&job, "awaiting_approval").await;
        // By turns, at once and one a little before the other.
        let late = std::time::Duration::from_millis([0, 15, 40, 80][round % 4]);
        let (approved, cancelled) = if round % 2 == 0 {
            tokio::join!(merchant.approve(&job, 20), async {
                tokio::time::sleep(late).await;
                merchant.cancel(&job).await
            })
        } else {
            tokio::join!(
                async {
                    tokio::time::sleep(late).await;
                    merchant.approve(&job, 20).await
                },
                merchant.cancel(&job)
            )
        };
        let answers = (approved.status, cancelled.status);
        let ended = merchant.execution_of(&job).await;
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{answers:?} {ended:?}");
        let job_is = merchant.import(&job).await;
        let codes = merchant.codes_of(&job).await;
        match job_is["status"].as_str().expect("a status") {
            "completed" => {
                assert_eq!((answers, codes), ((202, 409), 20), "{job_is:#}");
                completed += 1;
            }
            "cancelled" => assert_eq!((cancelled.status, codes), (202, 0), "{answers:?} {job_is:#}"),
            other => panic!("{other} after {answers:?}: {job_is:#}"),
        }
    }
    let sql =
        format!("SELECT count(*) FROM codes_import_jobs WHERE merchant_id = '{}' AND leased", merchant.id);
    assert_eq!(value(&merchant.db, &sql).await, "0");
    completed
}
