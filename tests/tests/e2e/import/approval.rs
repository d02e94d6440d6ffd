//! Approving and cancelling an import, and refused decisions.

use crate::csv;
use crate::merchant::{Merchant, counts, id_of};
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::value;
use serde_json::{Value, json};

#[tokio::test]
async fn an_approval_needs_confirmation_count_and_membership() {
    let merchant = Merchant::new("refused approvals").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..50))).await;
    let path = format!("/imports/{job}/approve");
    let yes = json!({ "confirm": "YES", "clean_count": 50 });

    let stack = &merchant.stack;
    assert_eq!(stack.post(None, &path, &yes).await.status, 401);
    assert_eq!(stack.post(Some("no.real.token"), &path, &yes).await.status, 401);
    let stranger = Some(stack.token(1));
    // The request of a stranger is not examined.
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
    assert_eq!(wrong.body["clean"], json!(50), "the response names the right count");
    let forecast = async |estimate: &str| {
        let sql = format!(
            "UPDATE onceload.codes_import_jobs SET insert_estimate_seconds = {estimate} WHERE id = '{job}'"
        );
        merchant.db.batch_execute(&sql).await.expect("another forecast");
    };
    forecast("1790").await;
    let too_large = merchant.approve(&job, 50).await;
    assert_eq!(
        (too_large.status, &too_large.body["type"]),
        (409, &json!("urn:onceload:problem:insert-too-large"))
    );
    assert_eq!(
        (&too_large.body["insert_estimate_seconds"], &too_large.body["limit_seconds"]),
        (&json!(1790.0), &json!(895.0))
    );
    let remedy = too_large.body["detail"].as_str().expect("a remedy");
    assert!(remedy.contains("split its files") && remedy.contains("at most 25 new codes"), "{remedy}");
    let waiting = merchant.import(&job).await;
    assert_eq!(waiting["status"], json!("awaiting_approval"));
    assert_eq!(waiting["insert_estimate_seconds"], json!(1790.0));
    assert_eq!(merchant.count_codes().await, 0);
    forecast("895").await;

    let order = format!(
        "SELECT token_entered_at BETWEEN created_at AND now() AND token_retry_count = 0
           FROM onceload.codes_import_jobs WHERE id = '{job}'"
    );
    assert_eq!(value(&merchant.db, &order).await, "t", "the state machine says which call brought the token");
    let (first, second) = tokio::join!(merchant.approve(&job, 50), merchant.approve(&job, 50));
    assert_eq!((first.status, second.status), (202, 202), "a repeated approval gets the same response");
    assert_eq!(merchant.approve(&job, 50).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    assert_eq!(
        merchant.approve(&job, 50).await.status,
        202,
        "a repeated approval is accepted even after the end"
    );
    assert_eq!(merchant.count_codes().await, 50);

    // A completed import takes no other decision.
    let other = merchant.approve(&job, 49).await;
    assert_eq!((other.status, &other.body["job_status"]), (409, &json!("completed")), "{other:?}");
    for action in ["cancel", "retry"] {
        let answer = merchant.post(&format!("/imports/{job}/{action}"), "").await;
        assert_eq!((answer.status, &answer.body["job_status"]), (409, &json!("completed")), "{answer:?}");
    }
    assert_eq!(merchant.import(&job).await["status"], json!("completed"));
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (50, 1));
}

#[tokio::test]
async fn a_high_share_of_duplicates_must_be_accepted() {
    let merchant = Merchant::new("blocked").await;
    let codes = csv::codes("A", 0..100);
    merchant.add_codes(&codes[..60]).await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
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
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "merchant_total"]), [40, 100]);
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn a_waiting_import_is_cancelled_at_once() {
    let merchant = Merchant::new("cancelled").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..50))).await;
    let answer = merchant.cancel(&job).await;
    assert_eq!((answer.status, &answer.body["status"]), (202, &json!("cancelled")), "{answer:?}");
    let ended = merchant.execution_of(&job).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
    assert_eq!((&ended.output["job_id"], &ended.output["status"]), (&json!(job), &json!("cancelled")));
    assert_eq!(merchant.cancel(&job).await.status, 202, "a repeated cancel is accepted");
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
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (0, 1));
}

/// Either all of the codes are inserted or none, whichever decision comes first, and the responses agree with it.
#[tokio::test]
async fn either_the_approval_or_the_concurrent_cancel_holds() {
    let merchant = Merchant::new("approve against cancel").await;
    let other = Merchant::on(merchant.stack.clone(), "approve against cancel too").await;
    let completed = tokio::join!(decide_concurrently(&merchant, "A"), decide_concurrently(&other, "B"));
    for (merchant, completed) in [(&merchant, completed.0), (&other, completed.1)] {
        assert_eq!(merchant.count_codes().await, 20 * completed);
        merchant.wait_for_rest().await;
    }
}

/// Both requests at once, twice, and each of them as soon as the other is answered. Returns how many imports completed.
async fn decide_concurrently(merchant: &Merchant, prefix: &str) -> u64 {
    let mut completed = 0;
    for round in 0..4 {
        let codes = csv::codes(&format!("{prefix}{round}"), 0..20);
        merchant.put(&merchant.key("import", &format!("{round}.csv")), csv::file(&codes)).await;
        let job = id_of(merchant.imports(round + 1).await.last().expect("an import"));
        merchant.wait_for_status(&job, "awaiting_approval").await;
        let (approved, cancelled) = match round {
            0 => tokio::join!(merchant.approve(&job, 20), merchant.cancel(&job)),
            1 => {
                let (cancelled, approved) = tokio::join!(merchant.cancel(&job), merchant.approve(&job, 20));
                (approved, cancelled)
            }
            2 => (merchant.approve(&job, 20).await, merchant.cancel(&job).await),
            _ => {
                let cancelled = merchant.cancel(&job).await;
                (merchant.approve(&job, 20).await, cancelled)
            }
        };
        let answers = (approved.status, cancelled.status);
        let ended = merchant.execution_of(&job).await;
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{answers:?} {ended:?}");
        let job_is = merchant.import(&job).await;
        let codes = merchant.count_codes_of(&job).await;
        match job_is["status"].as_str().expect("a status") {
            "completed" => {
                assert_eq!((answers, codes), ((202, 409), 20), "{job_is:#}");
                completed += 1;
            }
            "cancelled" => assert_eq!((cancelled.status, codes), (202, 0), "{answers:?} {job_is:#}"),
            other => panic!("{other} after {answers:?}: {job_is:#}"),
        }
    }
    let sql = format!(
        "SELECT count(*) FROM onceload.codes_import_jobs WHERE merchant_id = '{}' AND leased",
        merchant.id
    );
    assert_eq!(value(&merchant.db, &sql).await, "0");
    completed
}
