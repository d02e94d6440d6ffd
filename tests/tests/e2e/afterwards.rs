//! What is asked of an import that is over: verified again, exported, rolled back, cleared. By HTTP, through the
//! state machine `maintenance`, to the links.

use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::{rows, until, value};
use serde_json::{Value, json};
use std::io::Read;

/// An import that is completed, with 40 codes inserted, 10 internal and 10 existing duplicates and one reject.
async fn completed(merchant: &Merchant) -> String {
    let codes = csv::codes("A", 0..50);
    merchant.has(&codes[40..]).await;
    let mut text = String::from_utf8(csv::file(&codes)).expect("text");
    codes[..10].iter().for_each(|code| text.push_str(&format!("{code}\n")));
    text.push_str(&format!("{}\n", "x".repeat(300)));
    let job = merchant.awaiting("a.csv", text).await;
    assert_eq!(merchant.approve(&job, 40).await.status, 202);
    merchant.reaches(&job, "completed").await;
    job
}

/// The newest export of a kind, once it is there.
async fn ready(merchant: &Merchant, job: &str, kind: &str) -> Value {
    until(&format!("the export of {kind}"), async || {
        let answer = merchant.get(&format!("/imports/{job}/exports")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let exports = answer.body["exports"].as_array().cloned().expect("exports");
        assert!(exports.iter().all(|export| export["status"] != "failed"), "{exports:#?}");
        exports.into_iter().find(|export| export["kind"] == kind && export["status"] == "ready")
    })
    .await
}

async fn fetched(file: &Value) -> String {
    let url = file["url"].as_str().expect("a link").to_owned();
    let bytes = tokio::task::spawn_blocking(move || ureq::get(&url).call()?.body_mut().read_to_vec());
    let bytes = bytes.await.expect("the call").expect("what the link is for");
    assert_eq!(json!(bytes.len()), file["bytes"]);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    text
}

/// Every task of the merchant's imports is over and was done.
async fn tasks_done(merchant: &Merchant) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT t.action || coalesce(' ' || t.kind, ''), t.status, t.error_message, t.id FROM import_tasks t
           JOIN codes_import_jobs j ON j.id = t.job_id WHERE j.merchant_id = '{}' ORDER BY t.requested_at, 1",
        merchant.id
    );
    until("the end of all tasks", async || {
        let tasks = rows(&merchant.db, &sql).await;
        tasks.iter().all(|task| task[1] != "active").then_some(tasks)
    })
    .await
}

#[tokio::test]
async fn verified_exported_rolled_back_and_cleared() {
    let merchant = Merchant::new("afterwards").await;
    let job = completed(&merchant).await;
    let at = |what: &str| format!("/imports/{job}/{what}");

    // By itself.
    let duplicates = ready(&merchant, &job, "duplicates").await;
    assert_eq!(duplicates["rows"], json!(20));
    let text = fetched(&duplicates["files"][0]).await;
    assert!(text.starts_with("code,serial,sku,points,") && text.lines().count() == 21, "{text}");
    assert_eq!(text.matches(",INTERNAL_DUPLICATE\n").count(), 10);
    assert_eq!(text.matches(",DATABASE_DUPLICATE\n").count(), 10);
    let rejects = ready(&merchant, &job, "rejects").await;
    assert_eq!(rejects["files"].as_array().map(Vec::len), Some(2));
    assert_eq!(fetched(&rejects["files"][0]).await, format!("code,serial,points\n{}\n", "x".repeat(300)));
    assert!(fetched(&rejects["files"][1]).await.contains("too_long"));

    // Asked for, twice at once.
    let body = json!({ "kind": "report" });
    let path = at("exports");
    let (first, second) = tokio::join!(merchant.post(&path, &body), merchant.post(&path, &body));
    assert_eq!((first.status, second.status), (202, 202), "{first:?} {second:?}");
    let report = ready(&merchant, &job, "report").await;
    assert_eq!(report["rows"], json!(60));
    assert_eq!(fetched(&report["files"][0]).await.matches(",CLEAN\n").count(), 40);

    merchant
        .db
        .batch_execute(&format!("UPDATE codes_import_jobs SET verification = NULL WHERE id = '{job}'"))
        .await
        .expect("forgotten");
    assert_eq!(merchant.post(&at("verify"), "").await.status, 202);
    let verification = until("the verification", async || {
        let found = merchant.import(&job).await["verification"].clone();
        found.is_object().then_some(found)
    })
    .await;
    assert_eq!((&verification["verified"], &verification["actual_count"]), (&json!(true), &json!(40)));

    // Confirmed wrongly, or by somebody else: nothing happens.
    let rollback = at("rollback");
    for body in [json!({ "confirm": "YES" }), json!({ "confirm": "delete" }), json!({ "confirm": 1 })] {
        assert_eq!(merchant.post(&rollback, &body).await.status, 422, "{body}");
    }
    let stranger = Some(merchant.stack.token(1));
    for what in ["rollback", "verify", "exports"] {
        assert_eq!(
            merchant.stack.post(stranger, &at(what), json!({ "confirm": "DELETE" })).await.status,
            404
        );
    }
    assert_eq!(merchant.stack.get(stranger, &at("exports")).await.status, 404);
    assert_eq!(merchant.stack.post(None, &rollback, json!({ "confirm": "DELETE" })).await.status, 401);
    let nobodys = "/imports/0197a3c0-0000-7000-8000-0000000000ff/rollback";
    assert_eq!(merchant.post(nobodys, json!({ "confirm": "DELETE" })).await.status, 404);
    assert_eq!(merchant.code_count().await, 50);

    // Some of its codes are claimed meanwhile.
    let claim = format!("UPDATE codes SET claimed = true WHERE import_job_id = '{job}' AND code LIKE '%1'");
    merchant.db.batch_execute(&claim).await.expect("claims");
    let sql = format!("SELECT count(*) FROM codes WHERE import_job_id = '{job}' AND claimed");
    let claimed: u64 = value(&merchant.db, &sql).await.parse().expect("a count");
    assert!(claimed > 0);
    let body = json!({ "confirm": "DELETE" });
    let (first, second) = tokio::join!(merchant.post(&rollback, &body), merchant.post(&rollback, &body));
    // The second may come when all is over.
    assert!([first.status, second.status].contains(&202), "{first:?} {second:?}");
    assert!(
        [first.status, second.status].iter().all(|status| [202, 409].contains(status)),
        "{first:?} {second:?}"
    );
    let rolled_back = until("the rollback", async || {
        let found = merchant.import(&job).await;
        (found["status"] == "rolled_back").then_some(found)
    })
    .await;
    assert!(rolled_back["rolled_back_at"].is_string());
    assert_eq!(counts(&rolled_back, ["inserted"]), [40]);
    assert_eq!((merchant.codes_of(&job).await, merchant.code_count().await), (claimed, 10 + claimed));
    let list = ready(&merchant, &job, "claimed").await;
    assert_eq!(fetched(&list["files"][0]).await.lines().count() as u64, claimed + 1);
    let again = merchant.post(&rollback, &body).await;
    assert_eq!((again.status, &again.body["job_status"]), (409, &json!("rolled_back")), "{again:?}");
    assert_eq!(merchant.post(&at("verify"), "").await.status, 409);

    // Staging goes at once, and twice is once.
    let staging = at("staging");
    assert_eq!(merchant.delete(&staging, json!({ "confirm": "DELETE" })).await.status, 422);
    assert_eq!(merchant.stack.delete(stranger, &staging, json!({ "confirm": "CLEAR" })).await.status, 404);
    assert_ne!(merchant.staging(&job, 'b').await.len(), 0);
    for _ in 0..2 {
        assert_eq!(merchant.delete(&staging, json!({ "confirm": "CLEAR" })).await.status, 200);
        assert_eq!(merchant.staging(&job, 'b').await.len() + merchant.staging(&job, 'd').await.len(), 0);
    }
    // What was exported is there all the same.
    assert_eq!(merchant.post(&at("exports"), json!({ "kind": "report" })).await.status, 202);
    fetched(&ready(&merchant, &job, "report").await["files"][0]).await;

    let tasks = tasks_done(&merchant).await;
    let done: Vec<&str> = tasks.iter().map(|task| task[0].as_str()).collect();
    assert_eq!(
        done,
        ["export duplicates", "export rejects", "export report", "verify", "rollback"],
        "each once"
    );
    assert!(tasks.iter().all(|task| task[1] == "done"), "{tasks:?}");
    // The rollback's execution has its name, and says what it came to.
    let machine = merchant.stack.file.maintenance_state_machine_arn.clone().expect("the machine's ARN");
    let execution = format!("{}:rollback-{}", machine.replace(":stateMachine:", ":execution:"), tasks[4][3]);
    let ended = merchant.ended(&execution).await;
    assert_eq!(
        (&ended.output["codes_deleted"], &ended.output["codes_kept"], &ended.output["original_insert_count"]),
        (&json!(40 - claimed), &json!(claimed), &json!(40)),
        "{ended:?}"
    );
    merchant.at_rest().await;
}

/// What can't be done for good ends its task, and the merchant is free again.
#[tokio::test]
async fn a_task_that_fails_is_given_up() {
    let merchant = Merchant::new("given up").await;
    let job = completed(&merchant).await;
    tasks_done(&merchant).await;
    let table = &merchant.staging(&job, 'b').await[0];
    merchant.db.batch_execute(&format!("TRUNCATE {table}")).await.expect("as after a crash of the server");
    assert_eq!(
        merchant.post(&format!("/imports/{job}/exports"), json!({ "kind": "report" })).await.status,
        202
    );
    let failed = until("the failure", async || {
        let answer = merchant.get(&format!("/imports/{job}/exports")).await;
        let exports = answer.body["exports"].as_array().cloned().unwrap_or_default();
        exports.into_iter().find(|export| export["kind"] == "report" && export["status"] == "failed")
    })
    .await;
    assert!(failed["error_message"].as_str().is_some_and(|why| why.contains("staging")), "{failed}");
    merchant.at_rest().await;
}

/// An import whose merchant is being used elsewhere can't be rolled back, and one that is not over neither.
#[tokio::test]
async fn not_beside_a_working_import() {
    let merchant = Merchant::new("busy rollback").await;
    let job = completed(&merchant).await;
    tasks_done(&merchant).await;
    let working = merchant.is_busy().await;
    let answer = merchant.post(&format!("/imports/{job}/rollback"), json!({ "confirm": "DELETE" })).await;
    assert_eq!((answer.status, &answer.body["active_job_id"]), (409, &json!(working)), "{answer:?}");
    for (what, body) in [
        ("rollback", json!({ "confirm": "DELETE" })),
        ("verify", json!({})),
        ("exports", json!({ "kind": "rejects" })),
    ] {
        let answer = merchant.post(&format!("/imports/{working}/{what}"), body).await;
        assert_eq!(
            (answer.status, &answer.body["job_status"]),
            (409, &json!("loading")),
            "{what}: {answer:?}"
        );
    }
    let answer = merchant.delete(&format!("/imports/{working}/staging"), json!({ "confirm": "CLEAR" })).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    merchant.gives_way(&working).await;
    assert_eq!(merchant.codes_of(&job).await, 40);
    merchant.at_rest().await;
}
