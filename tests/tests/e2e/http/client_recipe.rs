//! The client recipe of docs/client, compiled and run by Node.js against the API.

use crate::csv;
use crate::merchant::Merchant;
use crate::stack::Stack;
use onceload_tests::db::value;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use uuid::Uuid;

/// A running scenario of `client_recipe.mjs`.
struct Scenario {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Scenario {
    fn start(stack: &Stack, token: &str, input: &Value) -> Self {
        let client =
            std::env::var("ONCELOAD_CLIENT").expect("set by `cargo xtask test`: the compiled client");
        let mut process = Command::new("node")
            .arg(xtask::project::root().join("tests/tests/e2e/http/client_recipe.mjs"))
            .env("CLIENT", client)
            .env("API_URL", &stack.file.api_url)
            .env("TOKEN", token)
            .env("INPUT", input.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, lines }
    }

    /// The next line of the scenario's output.
    async fn next_output(&mut self) -> Value {
        let line = self.lines.next_line().await.expect("its output").expect("it ended without a word");
        serde_json::from_str(&line).expect("a JSON object")
    }

    async fn wait_for_end(mut self) {
        assert!(self.process.wait().await.expect("its end").success());
    }
}

#[tokio::test]
async fn the_client_creates_one_community_despite_network_failures() {
    let stack = Stack::connect().await;
    let name = |word: &str| format!("{word} {}", Uuid::now_v7());
    let (first, lost, broken, edited) = (name("retried"), name("lost"), name("broken"), name("edited"));
    let input =
        json!({ "scenario": "create", "name": first, "lost": lost, "broken": broken, "edited": edited });
    let mut scenario = Scenario::start(&stack, stack.token(0), &input);
    let output = scenario.next_output().await;
    scenario.wait_for_end().await;

    let key = |of: &Value| of.as_str().expect("a key").to_owned();
    let retried: Vec<String> = output["retried"].as_array().expect("keys").iter().map(key).collect();
    assert_eq!(retried.len(), 4, "lost, 500, 409, answered: {output:#}");
    assert!(retried.iter().all(|key| *key == retried[0]), "one key: {retried:?}");
    assert_eq!((&output["first"]["status"], &output["first"]["replayed"]), (&json!(201), &json!(true)));
    let pauses: Vec<f64> =
        output["pauses"].as_array().expect("pauses").iter().filter_map(Value::as_f64).collect();
    assert!(pauses[1] >= 7000.0 && pauses[2] >= 7000.0, "Retry-After is honoured: {pauses:?}");

    let keys: Vec<String> = output["keys"].as_array().expect("keys").iter().map(key).collect();
    // A repetition, five lost attempts and the one after them, the same of five failures, a refused request, an edited one.
    assert_eq!(keys.len(), 15, "{output:#}");
    assert_ne!(keys[0], retried[0], "a final response ends the intent");
    assert_eq!(output["second"]["status"], json!(201));
    assert_eq!(output["lost"], json!("the connection was lost"));
    assert!(keys[1..7].iter().all(|key| *key == keys[1]), "no answer is no final answer: {keys:?}");
    assert_eq!((&output["again"]["status"], &output["again"]["replayed"]), (&json!(201), &json!(true)));
    assert_eq!((&output["broken"]["status"], &output["mended"]["status"]), (&json!(500), &json!(201)));
    assert!(keys[7..13].iter().all(|key| *key == keys[7]), "a server error is no final answer: {keys:?}");
    assert_eq!(output["refused"]["status"], json!(422));
    assert!(keys[13] != keys[12] && keys[14] != keys[13], "an edit is another request: {keys:?}");
    assert_eq!(output["edited"]["status"], json!(201));

    let db = stack.database().await;
    for (name, count) in [(first, "2"), (lost, "1"), (broken, "1"), (edited, "1")] {
        let made = format!("SELECT count(*) FROM onceload.communities WHERE name = '{name}'");
        assert_eq!(value(&db, &made).await, count, "{name}");
    }
}

#[tokio::test]
async fn the_client_starts_and_follows_an_import() {
    let merchant = Merchant::new("client recipe").await;
    let (token, user) = merchant.new_member().await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..20))).await;
    let input = json!({ "scenario": "start", "merchant_id": merchant.id, "file": key });
    let mut scenario = Scenario::start(&merchant.stack, &token, &input);
    let output = scenario.next_output().await;
    scenario.wait_for_end().await;
    assert_eq!(output["before"], Value::Null, "{output:#}");
    let (started, last) = (&output["started"], &output["last"]);
    assert!(started["message"].is_null(), "{output:#}");
    assert_eq!(
        (&last["job_id"], &last["status"]),
        (&started["jobId"], &json!("awaiting_approval")),
        "{output:#}"
    );
    assert_eq!(last["created_by"], json!(user));
    assert_eq!(output["waiting"]["jobId"], started["jobId"], "{output:#}");
    assert_eq!(output["waiting"]["message"], "These files wait for approval.");
    assert_eq!(merchant.cancel(started["jobId"].as_str().expect("a job")).await.status, 202);
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn the_client_follows_an_import_that_already_runs() {
    let merchant = Merchant::new("client recipe").await;
    let (token, user) = merchant.new_member().await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..20))).await;
    let busy = merchant.occupy().await;
    let earlier = format!(
        "UPDATE onceload.codes_import_jobs SET created_at = now() - interval '3 minutes' WHERE id = '{busy}'"
    );
    merchant.db.batch_execute(&earlier).await.expect("an earlier start");
    let input = json!({ "scenario": "attach", "merchant_id": merchant.id, "file": key });
    let mut scenario = Scenario::start(&merchant.stack, &token, &input);
    let started = scenario.next_output().await;
    assert_eq!(started["jobId"], json!(busy), "it follows the one that runs: {started:#}");
    assert_eq!(
        started["message"],
        "An import is already processing (started 3 minutes ago). Please wait for it to complete, or try again in a few minutes."
    );
    merchant.release(&busy).await;
    let last = &scenario.next_output().await["last"];
    assert_eq!((&last["job_id"], &last["status"]), (&json!(busy), &json!("failed")), "{last:#}");
    scenario.wait_for_end().await;
    let own = format!("SELECT count(*) FROM onceload.codes_import_jobs WHERE created_by = '{user}'");
    assert_eq!(value(&merchant.db, &own).await, "0", "no second import was started");
    merchant.wait_for_rest().await;
}
