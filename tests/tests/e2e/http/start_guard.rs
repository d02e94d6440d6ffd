//! Repeated and concurrent start requests start one import and one migration.

use crate::blocker::Blocker;
use crate::csv;
use crate::issuer::claims;
use crate::merchant::Merchant;
use crate::stack::{Answer, until};
use crate::sweep::sweep;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::value;
use onceload_tests::fixture::{clients_at, config, unused_endpoint};
use onceload_tests::http::{receive, request};
use serde_json::{Value, json};
use shared::db::{Database, Usage};
use shared::lambda::{App, Config};
use shared::s3::objects::Objects;

const QUEUE: &str = "/imports/queue-processing";

/// A member of the merchant whom no other test uses, since a user has one import at a time.
struct Operator<'a> {
    merchant: &'a Merchant,
    token: String,
}

impl<'a> Operator<'a> {
    async fn new(merchant: &'a Merchant) -> Self {
        let (token, _) = merchant.new_member().await;
        let operator = Self { merchant, token };
        let fresh = operator.read_status().await;
        assert_eq!(
            fresh,
            json!({ "status": "idle", "elapsedMinutes": null, "jobId": null, "statusUrl": null })
        );
        operator
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.merchant.stack.send(Some(&self.token), "POST", path, &headers, Some(body.to_string())).await
    }

    async fn read_status(&self) -> Value {
        let answer = self.merchant.stack.get(Some(&self.token), QUEUE).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

fn expect_job(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.body["jobId"].as_str().expect("jobId").to_owned()
}

#[tokio::test]
async fn eight_concurrent_requests_start_one_import() {
    let merchant = Merchant::new("eight clicks").await;
    let operator = Operator::new(&merchant).await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..40))).await;
    let body = json!({ "merchant_id": merchant.id, "files": [key] });

    let clicks = (0..8).map(|_| operator.post(QUEUE, None, &body));
    let answers = futures_util::future::join_all(clicks).await;
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let job = expect_job(won[0], 202);
    assert_eq!(
        won[0].body,
        json!({ "jobId": job, "status": "processing", "statusUrl": format!("/imports/{job}") })
    );
    for held in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((held.status, &held.body["jobId"]), (409, &json!(job)), "{held:?}");
        assert!(held.content_type.starts_with("application/json"), "{held:?}");
        assert_eq!(held.body["error"], "Import already in progress. Please wait for it to complete.");
        assert_eq!((&held.body["status"], &held.body["elapsedMinutes"]), (&json!("processing"), &json!(0)));
        let retry_after = held.retry_after.as_deref().and_then(|seconds| seconds.parse::<u64>().ok());
        assert!(retry_after.is_some_and(|seconds| (2..=60).contains(&seconds)), "{held:?}");
    }
    // While the import waits for approval the user is free, but its source is not.
    merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(operator.read_status().await["status"], "idle");
    let late = operator.post(QUEUE, None, &body).await;
    assert_eq!((late.status, &late.body["jobId"]), (409, &json!(job)), "{late:?}");
    assert_eq!(
        (&late.body["error"], &late.body["status"], &late.retry_after),
        (&json!("These files wait for approval."), &json!("awaiting_approval"), &None),
        "{late:?}"
    );

    // The approval is sent twice with one key.
    let approve = format!("/imports/{job}/approve");
    let yes = json!({ "confirm": "YES", "clean_count": 40 });
    let first = operator.post(&approve, Some("approve-1"), &yes).await;
    let again = operator.post(&approve, Some("approve-1"), &yes).await;
    assert_eq!((first.status, again.status, &first.body), (202, 202, &again.body));
    assert_eq!(again.headers.get("idempotent-replayed").map(String::as_str), Some("true"));
    assert!(!first.headers.contains_key("idempotent-replayed"));
    merchant.wait_for_status(&job, "completed").await;
    until("the user is free", async || (operator.read_status().await["status"] == "completed").then_some(()))
        .await;
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (40, 1));
}

#[tokio::test]
async fn concurrent_requests_run_one_migration() {
    let merchant = Merchant::new("migration").await;
    let operator = Operator::new(&merchant).await;
    let key = merchant.key("uploads", "legacy.csv");
    merchant.put(&key, "Voucher\nA\nB\nC\n").await;
    let body = json!({ "merchant_id": merchant.id, "file": key, "mapping": { "code": "Voucher" } });
    let runs = (0..6).map(|_| operator.post("/migrations/run", None, &body));
    let answers = futures_util::future::join_all(runs).await;
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let job = expect_job(won[0], 202);
    for other in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!(
            (other.status, &other.body),
            (200, &json!({ "jobId": job, "message": "Job already in progress" }))
        );
    }
    merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(expect_job(&operator.post("/migrations/run", None, &body).await, 200), job);
    assert_eq!(merchant.approve(&job, 3).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    let state = format!("SELECT status FROM onceload.migration_jobs WHERE id = '{job}'");
    assert_eq!(value(&merchant.db, &state).await, "completed");
    // The migration has ended, so it may run again, and finds nothing new.
    let second = expect_job(&operator.post("/migrations/run", Some("again"), &body).await, 202);
    let done = merchant.wait_for_status(&second, "completed").await;
    assert_eq!((&done["counts"]["inserted"], &done["counts"]["database_duplicates"]), (&json!(0), &json!(3)));
    assert_eq!(
        expect_job(&operator.post("/migrations/run", Some("again"), &body).await, 202),
        second,
        "replayed"
    );
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (3, 2));
}

/// The function commits and dies before it starts the execution. The sweep starts it, once.
#[tokio::test]
async fn a_start_lost_after_the_commit_is_delivered_once() {
    let merchant = Merchant::new("killed before the start").await;
    let operator = Operator::new(&merchant).await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..10))).await;
    let body = json!({ "merchant_id": merchant.id, "files": [key] });

    let subject = claims(&operator.token)["sub"].as_str().expect("sub").to_owned();
    let cut_off = request("POST", QUEUE, Some(&subject), &body.to_string());
    let answer =
        receive(queue_processing::handle(app_without_step_functions(&merchant).await, cut_off).await);
    assert_eq!(answer.status, 202, "promised: {answer:?}");
    let job = answer.body["jobId"].as_str().expect("jobId").to_owned();
    assert_eq!(merchant.import(&job).await["status"], json!("pending"));

    // Two sweeps deliver the message at the same time, beside a request that is refused.
    let due = format!("UPDATE onceload.outbox SET next_attempt_at = now() WHERE job_id = '{job}'");
    merchant.db.batch_execute(&due).await.expect("due now");
    let held = tokio::join!(operator.post(QUEUE, None, &body), sweep(&merchant), sweep(&merchant)).0;
    assert_eq!((held.status, &held.body["jobId"]), (409, &json!(job)), "{held:?}");
    merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(merchant.cancel(&job).await.status, 202);
    assert_eq!(merchant.wait_for_rest().await, 1, "exactly one execution");
    assert_eq!(operator.read_status().await["status"], "cancelled");
}

/// An execution that was taken for dead is stopped, and its insert, which is still alive, writes nothing.
#[tokio::test]
async fn a_superseded_execution_is_stopped() {
    let merchant = Merchant::new("superseded").await;
    let operator = Operator::new(&merchant).await;
    let key = merchant.key("uploads", "a.csv");
    let codes = csv::codes("A", 0..20);
    merchant.put(&key, csv::file(&codes)).await;
    let body = json!({ "merchant_id": merchant.id, "files": [key] });
    let first = expect_job(&operator.post(QUEUE, None, &body).await, 202);
    merchant.wait_for_status(&first, "awaiting_approval").await;
    let hold =
        format!("INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{}')", merchant.id, codes[10]);
    let insert = Blocker::hold(&merchant.stack, &hold).await;
    assert_eq!(merchant.approve(&first, 20).await.status, 202);
    insert.wait_for_waiter(&merchant.stack).await;

    let silence = format!(
        "UPDATE onceload.user_profiles SET heartbeat_at = now() - interval '16 min' WHERE job_id = '{first}';
         UPDATE onceload.codes_import_jobs SET heartbeat_at = now() - interval '16 min' WHERE id = '{first}'"
    );
    // The insert's heartbeats go on, so the start must come between the silence and the next heartbeat.
    let second = until("a second import", async || {
        merchant.db.batch_execute(&silence).await.expect("silence");
        let answer = operator.post(QUEUE, None, &body).await;
        assert!([202, 409].contains(&answer.status), "{answer:?}");
        (answer.status == 202).then(|| expect_job(&answer, 202))
    })
    .await;
    let stopped = merchant.execution_of(&first).await;
    assert_eq!(stopped.status, ExecutionStatus::Aborted, "{stopped:?}");
    insert.release().await;
    let waiting = merchant.wait_for_status(&second, "awaiting_approval").await;
    assert_eq!(waiting["counts"]["clean"], json!(20), "the first has written nothing");
    let failed = merchant.import(&first).await;
    assert_eq!((&failed["status"], &failed["attempt"]), (&json!("failed"), &json!(2)));
    assert!(failed["error_message"].as_str().is_some_and(|why| why.contains(&second)), "{failed:#}");
    assert_eq!(merchant.cancel(&second).await.status, 202);
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (0, 2));
}

/// An `App` on the stack's database and bucket, with nothing at the endpoint of Step Functions.
async fn app_without_step_functions(merchant: &Merchant) -> App {
    let file = &merchant.stack.file;
    let aws = onceload_tests::aws::config(file).await;
    App {
        config: Config {
            bucket: file.bucket.clone(),
            state_machine_arn: Some(file.state_machine_arn.clone()),
            maintenance_state_machine_arn: file.maintenance_state_machine_arn.clone(),
            ..config()
        },
        db: Database::new(&file.database_url, Usage::step(2), None).expect("a pool"),
        clients: clients_at(&unused_endpoint(), &Objects::new(&aws, &file.bucket)),
    }
}
