//! Imports of one merchant work one at a time in order of arrival, and an upload is imported once.

use crate::csv;
use crate::merchant::{Merchant, counts, id_of};
use crate::stack::until;
use crate::sweep::sweep;
use aws_sdk_sfn::types::ExecutionStatus;
use futures_util::future::{join_all, select};
use onceload_tests::db::{rows, value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

/// Asserts, until `done` has finished, that no two imports of the merchant work at once.
async fn assert_one_at_a_time<T>(merchant: &Merchant, done: impl Future<Output = T>) -> T {
    let watch = async {
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE leased) FROM onceload.codes_import_jobs
              WHERE merchant_id = '{}' AND (leased OR status IN ('loading', 'checking', 'validating', 'processing'))",
            merchant.id
        );
        let watcher = merchant.stack.database().await;
        loop {
            let row = rows(&watcher, &sql).await.remove(0);
            assert!(row[0] == row[1] && matches!(row[0].as_str(), "0" | "1"), "working, leased: {row:?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    match select(pin!(done), pin!(watch)).await {
        futures_util::future::Either::Left((done, _)) => done,
        futures_util::future::Either::Right((never, _)) => never,
    }
}

/// Approves every waiting import with its current count until all imports are completed.
async fn approve_all(merchant: &Merchant, count: usize) -> Vec<Value> {
    until("the end of all imports", async || {
        let imports = merchant.imports(count).await;
        for job in imports.iter().filter(|job| job["status"] == json!("awaiting_approval")) {
            let clean = job["counts"]["clean"].as_u64().expect("clean");
            let answer = merchant.approve(&id_of(job), clean).await;
            match (answer.status, answer.body["type"].as_str()) {
                (202, _) => {}
                // The import was checked again since we looked, and may wait with another count by now.
                (409, Some("urn:onceload:problem:wrong-state" | "urn:onceload:problem:wrong-count")) => {}
                _ => panic!("{answer:?}"),
            }
        }
        imports.iter().all(|job| job["status"] == json!("completed")).then_some(imports)
    })
    .await
}

#[tokio::test]
async fn two_imports_of_one_merchant_never_work_at_once() {
    let merchant = Merchant::new("two at once").await;
    // One code is in both files, within the 1 % that the second approval covers.
    let files = ["A", "B"].map(|name| {
        let mut codes = csv::codes(name, 0..199);
        codes.push("SHARED".to_owned());
        csv::file(&codes)
    });
    let keys = ["a.csv", "b.csv"].map(|name| merchant.key("import", name));
    let jobs = assert_one_at_a_time(&merchant, async {
        tokio::join!(merchant.put(&keys[0], files[0].clone()), merchant.put(&keys[1], files[1].clone()));
        let jobs: Vec<String> = merchant.imports(2).await.iter().map(id_of).collect();
        for job in &jobs {
            let waiting = merchant.wait_for_status(job, "awaiting_approval").await;
            assert_eq!(counts(&waiting, ["staged", "clean"]), [200, 200], "neither import has inserted yet");
        }
        approve_all(&merchant, 2).await;
        jobs
    })
    .await;
    let mut inserted = Vec::new();
    for job in &jobs {
        let done = merchant.import(job).await;
        assert_eq!(done["verification"]["verified"], json!(true), "{done:#}");
        inserted.push(counts(&done, ["inserted", "late_duplicates"]));
        assert_eq!(merchant.count_codes_of(job).await, done["counts"]["inserted"].as_u64().expect("a count"));
    }
    inserted.sort_unstable();
    assert_eq!(inserted, [[199, 1], [200, 0]]);
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (399, 2));
}

#[tokio::test]
async fn five_files_uploaded_at_once_run_in_order_of_arrival() {
    let merchant = Merchant::new("five at once").await;
    // While another import works, all five queue.
    let busy = merchant.occupy().await;
    join_all((1..=5).map(async |number| {
        let mut codes = csv::codes("COMMON", 0..20);
        codes.extend(csv::codes(&format!("F{number}"), 0..80));
        merchant.put(&merchant.key("import", &format!("{number}.csv")), csv::file(&codes)).await
    }))
    .await;
    let queued = format!(
        "SELECT count(*) FROM onceload.codes_import_jobs WHERE merchant_id = '{}' AND phase = 'waiting_for_merchant'",
        merchant.id
    );
    until("five imports in the queue", async || (value(&merchant.db, &queued).await == "5").then_some(()))
        .await;
    assert_one_at_a_time(&merchant, async {
        merchant.release(&busy).await;
        let waiting = format!("SELECT count(*) FROM onceload.codes_import_jobs WHERE merchant_id = '{}' AND status = 'awaiting_approval'", merchant.id);
        until("five imports that wait", async || (value(&merchant.db, &waiting).await == "5").then_some(())).await;
        let order = "SELECT id FROM onceload.codes_import_jobs WHERE merchant_id = $ AND status = 'awaiting_approval' ORDER BY ";
        let by = async |columns: &str| {
            rows(&merchant.db, &(order.replace('$', &format!("'{}'", merchant.id)) + columns)).await
        };
        assert_eq!(by("awaiting_since").await, by("created_at, id").await);
        let done = approve_all(&merchant, 5).await;

        // The first import inserts the 20 common codes. They are 20 % of what was approved for the others, so these are
        // checked again and ask again.
        let mut found = BTreeMap::<_, u32>::new();
        for job in &done {
            let [staged, existing, clean, inserted, late] =
                counts(job, ["staged", "database_duplicates", "clean", "inserted", "late_duplicates"]);
            assert_eq!((staged, staged - existing - late, clean - late), (100, inserted, inserted), "{job:#}");
            *found.entry((existing, inserted, late)).or_default() += 1;
        }
        assert_eq!(found, BTreeMap::from([((0, 100, 0), 1), ((20, 80, 0), 4)]));
    })
    .await;
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (420, 5));
}

/// Each import wakes the next, so that a long line goes on without a pause, and a wait leaves nearly nothing in the histories.
#[tokio::test]
async fn a_line_of_ten_files_moves_by_itself() {
    let merchant = Merchant::new("ten in line").await;
    let files = 10;
    join_all((0..files).map(async |number| {
        let key = merchant.key("import", &format!("{number}.csv"));
        merchant.put(&key, csv::file(&csv::codes(&format!("F{number}"), 0..1))).await
    }))
    .await;
    let jobs: Vec<String> = merchant.imports(files).await.iter().map(id_of).collect();
    for job in &jobs {
        merchant.wait_for_status(job, "awaiting_approval").await;
    }
    for job in &jobs {
        let execution = merchant.running_execution(job).await;
        let history =
            merchant.stack.states.get_execution_history().execution_arn(&execution).max_results(1000);
        let history = history.send().await.expect("the history");
        assert!(history.events().len() < 100, "{} events: {:?}", history.events().len(), history.events());
    }
    for job in &jobs {
        assert_eq!(merchant.cancel(job).await.status, 202);
    }
    assert_eq!(merchant.wait_for_rest().await, files);
}

/// An approval during another import is accepted, and is carried out before the uploads in line.
#[tokio::test]
async fn an_approval_while_the_merchant_is_busy_goes_before_the_line() {
    let merchant = Merchant::new("approved while busy").await;
    let approved = merchant.upload_for_approval("first.csv", csv::file(&csv::codes("A", 0..30))).await;
    let busy = merchant.occupy().await;
    merchant.put(&merchant.key("import", "second.csv"), csv::file(&csv::codes("B", 0..20))).await;
    let upload = id_of(&merchant.imports(2).await[1]);
    merchant.wait_in_line(&upload).await;
    for _ in 0..2 {
        let answer = merchant.approve(&approved, 30).await;
        let place = (&answer.body["status"], &answer.body["phase"]);
        assert_eq!(
            (answer.status, place),
            (202, (&json!("awaiting_approval"), &json!("waiting_for_merchant")))
        );
    }
    // While anybody waits, a start is refused as while the lease is held.
    let started = json!({ "merchant_id": merchant.id, "files": [merchant.key("import", "first.csv")] });
    assert_eq!(merchant.post("/imports/queue-processing", &started).await.status, 409);
    merchant.release(&busy).await;
    merchant.wait_for_status(&approved, "completed").await;
    merchant.wait_for_status(&upload, "awaiting_approval").await;
    let order = format!(
        "SELECT (SELECT completed_at FROM onceload.codes_import_jobs WHERE id = '{approved}')
                < (SELECT loaded_at FROM onceload.import_files WHERE job_id = '{upload}')"
    );
    assert_eq!(value(&merchant.db, &order).await, "t", "the upload waits for the approved import");
    assert_eq!(merchant.approve(&upload, 20).await.status, 202);
    merchant.wait_for_status(&upload, "completed").await;
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (50, 2));
}

/// The execution of the first in line was stopped. Its turn passes to the next at once, and the sweep says why it ended.
#[tokio::test]
async fn a_stopped_execution_does_not_block_the_line() {
    let merchant = Merchant::new("stopped in line").await;
    let busy = merchant.occupy().await;
    let mut jobs = Vec::new();
    for name in ["a.csv", "b.csv"] {
        merchant.put(&merchant.key("import", name), csv::file(&csv::codes(name, 0..5))).await;
        jobs.push(id_of(merchant.imports(jobs.len() + 1).await.last().expect("an import")));
        merchant.wait_in_line(jobs.last().expect("a job")).await;
    }
    let execution = merchant.running_execution(&jobs[0]).await;
    let stopped = merchant.stack.states.stop_execution().execution_arn(&execution).send().await;
    stopped.expect("the execution is stopped");
    merchant.release(&busy).await;
    merchant.wait_for_status(&jobs[1], "awaiting_approval").await;
    let silent = format!(
        "UPDATE onceload.codes_import_jobs SET updated_at = now() - interval '1 hour', heartbeat_at = now() - interval '1 hour'
          WHERE id = '{}'",
        jobs[0]
    );
    merchant.db.batch_execute(&silent).await.expect("an hour goes by");
    sweep(&merchant).await;
    let failed = merchant.wait_for_status(&jobs[0], "failed").await;
    assert!(failed["error_message"].as_str().is_some_and(|says| says.contains("ABORTED")), "{failed:#}");
    assert_eq!(merchant.cancel(&jobs[1]).await.status, 202);
    assert_eq!(merchant.wait_for_rest().await, 2);
}

#[tokio::test]
async fn a_queued_import_is_cancelled() {
    let merchant = Merchant::new("cancelled in the queue").await;
    let busy = merchant.occupy().await;
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..5))).await;
    let job = merchant.only_import().await;
    merchant.wait_in_line(&job).await;
    assert_eq!(merchant.cancel(&job).await.status, 202);
    let ended = merchant.execution_of(&job).await;
    assert_eq!(
        (ended.status.clone(), &ended.output["status"]),
        (ExecutionStatus::Succeeded, &json!("cancelled")),
        "{ended:?}"
    );
    assert!(merchant.staging_tables(&job, 'b').await.is_empty());
    merchant.release(&busy).await;
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (0, 1));
}

#[tokio::test]
async fn an_event_delivered_again_imports_nothing() {
    let merchant = Merchant::new("events twice").await;
    let key = merchant.key("import", "a.csv");
    let body = csv::file(&csv::codes("A", 0..40));
    let version = merchant.put(&key, body.clone()).await;
    let event = json!({
            "version": "0", "source": "aws.s3", "detail-type": "Object Created", "region": merchant.stack.file.region,
            "detail": {
                "version": "0",
                "bucket": { "name": merchant.stack.file.bucket },
                "object": { "key": key, "size": body.len(), "version-id": version, "sequencer": "0062E99A88DC407460" },
                "reason": "PutObject",
            },
    });
    // The event is delivered twice more while the first execution works.
    let delivered = async || merchant.wait_for_end(&merchant.start_execution(&event).await).await;
    let again = async { tokio::join!(delivered(), delivered()) };
    let job = async {
        let job = merchant.only_import().await;
        merchant.wait_for_status(&job, "awaiting_approval").await;
        // One of the three executions waits for the approval.
        assert_eq!(merchant.approve(&job, 40).await.status, 202);
        merchant.wait_for_status(&job, "completed").await;
        job
    };
    let (again, job) = tokio::join!(again, job);
    // The event is delivered again after the import has ended.
    let late = delivered().await;
    let no_ops = [&again.0, &again.1, &late]
        .into_iter()
        .filter(|ended| ended.output["status"] == json!("no_op"))
        .count();
    assert!((2..=3).contains(&no_ops), "{again:?} {late:?}");
    for ended in [&again.0, &again.1, &late] {
        assert_eq!(
            (ended.status.clone(), &ended.output["job_id"]),
            (ExecutionStatus::Succeeded, &json!(job)),
            "{ended:?}"
        );
    }
    assert_eq!(late.output["status"], json!("no_op"), "{late:?}");
    assert_eq!((merchant.only_import().await, merchant.count_codes().await), (job.clone(), 40));

    // The same object uploaded again is another version and another import.
    let newer = merchant.put(&key, body.clone()).await;
    assert_ne!(newer, version);
    let second = id_of(&merchant.imports(2).await[1]);
    let done = merchant.wait_for_status(&second, "completed").await;
    assert_eq!(counts(&done, ["database_duplicates", "clean", "inserted"]), [40, 0, 0]);
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (40, 5));
}
