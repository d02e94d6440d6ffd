//! The database is away for longer than six tries take: what is under way waits, and what arrives meanwhile is not lost.

use crate::blocker::hold_loader_at_rejects;
use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::until;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEventType};
use serde_json::{Value, json};
use std::path::Path;
use xtask::postgres::Settings;
use xtask::stack;

/// A step that fails seven times fails for good, unless what it waits for passes by itself.
const TRIES: usize = 7;

async fn count_failures(merchant: &Merchant, execution: &str) -> usize {
    let history = merchant.stack.states.get_execution_history().execution_arn(execution).max_results(1000);
    let history = history.send().await.expect("a history");
    history.events().iter().filter(|event| event.r#type == HistoryEventType::TaskFailed).count()
}

async fn start_database(directory: &Path) {
    let directory = directory.to_path_buf();
    let started = tokio::task::spawn_blocking(move || {
        let database = stack::start_database(&directory, &Settings::test())?;
        stack::start_pooler(&directory, &database)
    });
    started.await.expect("a thread").expect("the database");
}

/// How often a line of a function's log has these words.
fn count_lines(merchant: &Merchant, function: &str, words: &str) -> usize {
    let logs = std::fs::read_dir(merchant.stack.directory.join("logs/functions")).expect("the logs");
    let logs = logs
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains(function));
    logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a log")).matches(words).count())
        .sum()
}

#[tokio::test]
#[ignore = "it stops the stack's database, so it runs after the other tests"]
async fn an_outage_of_the_database_fails_no_import_and_loses_no_upload() {
    let mut merchant = Merchant::new("outage").await;
    let mut other = Merchant::on(merchant.stack.clone(), "upload in the outage").await;
    let busy = merchant.occupy().await;
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..60))).await;
    let job = merchant.only_import().await;
    let loader = hold_loader_at_rejects(&merchant, &job, &busy).await;
    let execution = merchant.running_execution(&job).await;
    let directory = merchant.stack.directory.clone();
    let stopped = {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || stack::stop_database(&directory))
    };
    stopped.await.expect("a thread").expect("the database stops");
    drop(loader);

    other.put(&other.key("import", "b.csv"), csv::file(&csv::codes("B", 0..60))).await;
    let answer = merchant.get("/imports").await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("2")), "{answer:?}");
    for failures in [TRIES - 3, TRIES] {
        until(&format!("{failures} failures"), async || {
            (count_failures(&merchant, &execution).await >= failures).then_some(())
        })
        .await;
    }
    let described = merchant.stack.states.describe_execution().execution_arn(&execution).send().await;
    assert_eq!(*described.expect("the execution").status(), ExecutionStatus::Running, "it waits");
    start_database(&directory).await;
    (merchant.db, other.db) = (merchant.stack.database().await, other.stack.database().await);

    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    // One reject of an earlier load was made up.
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [60, 60, 60]);
    let late = other.only_import().await;
    other.wait_for_status(&late, "awaiting_approval").await;
    for (merchant, job) in [(&merchant, &job), (&other, &late)] {
        assert_eq!(merchant.approve(job, 60).await.status, 202);
        let done = merchant.wait_for_status(job, "completed").await;
        assert_eq!((&done["attempt"], &done["error_message"]), (&json!(1), &Value::Null), "{done:#}");
        assert_eq!(done["verification"]["verified"], json!(true), "{done:#}");
        assert_eq!(merchant.count_codes_of(job).await, 60);
        assert_eq!(merchant.wait_for_rest().await, 1);
    }
    let said = count_lines(&merchant, "load-staging", "the database is away");
    assert!((1..TRIES).contains(&said), "{said} lines of {TRIES} failures");
    assert!(count_lines(&merchant, "load-staging", "the database is back") >= 1);
}
