//! Maintenance of a completed import over HTTP and the state machine `maintenance`: verify, export, roll back, clear.

use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::until;
use onceload_tests::db::{rows, value};
use onceload_tests::results::ROLLBACK;
use serde_json::{Value, json};
use std::io::Read;

/// A completed import with 40 inserted codes, 10 internal and 10 existing duplicates and one reject.
async fn complete_import(merchant: &Merchant) -> String {
    let codes = csv::codes("A", 0..50);
    merchant.add_codes(&codes[40..]).await;
    let mut text = String::from_utf8(csv::file(&codes)).expect("text");
    codes[..10].iter().for_each(|code| text.push_str(&format!("{code}\n")));
    text.push_str(&format!("{}\n", "x".repeat(300)));
    let job = merchant.upload_for_approval("a.csv", text).await;
    assert_eq!(merchant.approve(&job, 40).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    job
}

/// Waits for the newest export of this kind.
async fn wait_for_export(merchant: &Merchant, job: &str, kind: &str) -> Value {
    until(&format!("the export of {kind}"), async || {
        let answer = merchant.get(&format!("/imports/{job}/exports")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let exports = answer.body["exports"].as_array().cloned().expect("exports");
        assert!(exports.iter().all(|export| export["status"] != "failed"), "{exports:#?}");
        exports.into_iter().find(|export| export["kind"] == kind && export["status"] == "ready")
    })
    .await
}

async fn download(file: &Value) -> String {
    let url = file["url"].as_str().expect("a link").to_owned();
    let bytes = tokio::task::spawn_blocking(move || ureq::get(&url).call()?.body_mut().read_to_vec());
    let bytes = bytes.await.expect("the call").expect("what the link is for");
    assert_eq!(json!(bytes.len()), file["bytes"]);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    text
}

/// Waits until every task of the merchant's imports has ended and returns them.
async fn wait_for_tasks(merchant: &Merchant) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT t.action || coalesce(' ' || t.kind, ''), t.status, t.error_message, t.id FROM onceload.import_tasks t
           JOIN onceload.codes_import_jobs j ON j.id = t.job_id WHERE j.merchant_id = '{}' ORDER BY t.requested_at, 1",
        merchant.id
    );
    until("the end of all tasks", async || {
        let tasks = rows(&merchant.db, &sql).await;
        tasks.iter().all(|task| task[1] != "active").then_some(tasks)
    })
    .await
}

#[tokio::test]
async fn a_completed_import_is_verified_exported_rolled_back_and_cleared() {
    let merchant = Merchant::new("afterwards").await;
    let job = complete_import(&merchant).await;
    let at = |what: &str| format!("/imports/{job}/{what}");

    // A completed import is exported without a request.
    let duplicates = wait_for_export(&merchant, &job, "duplicates").await;
    assert_eq!(duplicates["rows"], json!(20));
    let text = download(&duplicates["files"][0]).await;
    assert!(text.starts_with("code,serial,sku,points,") && text.lines().count() == 21, "{text}");
    assert_eq!(text.matches(",INTERNAL_DUPLICATE\n").count(), 10);
    assert_eq!(text.matches(",DATABASE_DUPLICATE\n").count(), 10);
    let rejects = wait_for_export(&merchant, &job, "rejects").await;
    assert_eq!(rejects["files"].as_array().map(Vec::len), Some(1));
    let text = download(&rejects["files"][0]).await;
    assert!(text.starts_with("code,serial,points,onceload_file,"), "{text}");
    assert!(text.contains(&format!("\n{},,,", "x".repeat(300))) && text.contains(",too_long,"), "{text}");

    // Two concurrent requests start one export.
    let body = json!({ "kind": "report" });
    let path = at("exports");
    let (first, second) = tokio::join!(merchant.post(&path, &body), merchant.post(&path, &body));
    assert_eq!((first.status, second.status), (202, 202), "{first:?} {second:?}");
    let report = wait_for_export(&merchant, &job, "report").await;
    assert_eq!(report["rows"], json!(60));
    assert_eq!(download(&report["files"][0]).await.matches(",CLEAN\n").count(), 40);

    merchant
        .db
        .batch_execute(&format!(
            "UPDATE onceload.codes_import_jobs SET verification = NULL WHERE id = '{job}'"
        ))
        .await
        .expect("forgotten");
    assert_eq!(merchant.post(&at("verify"), "").await.status, 202);
    let verification = until("the verification", async || {
        let found = merchant.import(&job).await["verification"].clone();
        found.is_object().then_some(found)
    })
    .await;
    assert_eq!((&verification["verified"], &verification["actual_count"]), (&json!(true), &json!(40)));

    // A wrong confirmation or a stranger's request has no effect.
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
    assert_eq!(merchant.stack.get(stranger, &rollback).await.status, 404);
    assert_eq!(merchant.stack.get(None, &rollback).await.status, 401);
    assert_eq!(merchant.stack.post(None, &rollback, json!({ "confirm": "DELETE" })).await.status, 401);
    let nobodys = "/imports/0197a3c0-0000-7000-8000-0000000000ff/rollback";
    assert_eq!(merchant.post(nobodys, json!({ "confirm": "DELETE" })).await.status, 404);
    assert_eq!(merchant.count_codes().await, 50);

    // Some codes are claimed before the rollback.
    let claim =
        format!("UPDATE onceload.codes SET claimed = true WHERE import_job_id = '{job}' AND code LIKE '%1'");
    merchant.db.batch_execute(&claim).await.expect("claims");
    let sql = format!("SELECT count(*) FROM onceload.codes WHERE import_job_id = '{job}' AND claimed");
    let claimed: u64 = value(&merchant.db, &sql).await.parse().expect("a count");
    assert!(claimed > 0);
    let preview = merchant.get(&rollback).await;
    assert_eq!(
        preview.body,
        json!({ "job_id": job, "inserted": 40, "delete": 40 - claimed,
                "keep": { "claimed": claimed, "referenced": 0, "both": 0 }, "exact": true }),
        "{preview:?}"
    );
    let body = json!({ "confirm": "DELETE" });
    let (first, second) = tokio::join!(merchant.post(&rollback, &body), merchant.post(&rollback, &body));
    // The second request may arrive after the rollback has ended.
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
    assert_eq!((merchant.count_codes_of(&job).await, merchant.count_codes().await), (claimed, 10 + claimed));
    let list = wait_for_export(&merchant, &job, "claimed").await;
    assert_eq!(download(&list["files"][0]).await.lines().count() as u64, claimed + 1);
    let again = merchant.post(&rollback, &body).await;
    assert_eq!((again.status, &again.body["job_status"]), (409, &json!("rolled_back")), "{again:?}");
    assert_eq!(merchant.post(&at("verify"), "").await.status, 409);
    assert_eq!(merchant.get(&rollback).await.status, 409);

    // Clearing drops staging at once; a repeated request is accepted.
    let staging = at("staging");
    assert_eq!(merchant.delete(&staging, json!({ "confirm": "DELETE" })).await.status, 422);
    assert_eq!(merchant.stack.delete(stranger, &staging, json!({ "confirm": "CLEAR" })).await.status, 404);
    assert_ne!(merchant.staging_tables(&job, 'b').await.len(), 0);
    for _ in 0..2 {
        assert_eq!(merchant.delete(&staging, json!({ "confirm": "CLEAR" })).await.status, 200);
        assert_eq!(
            merchant.staging_tables(&job, 'b').await.len() + merchant.staging_tables(&job, 'd').await.len(),
            0
        );
    }
    // Existing exports are still listed.
    assert_eq!(merchant.post(&at("exports"), json!({ "kind": "report" })).await.status, 202);
    download(&wait_for_export(&merchant, &job, "report").await["files"][0]).await;

    let tasks = wait_for_tasks(&merchant).await;
    let done: Vec<&str> = tasks.iter().map(|task| task[0].as_str()).collect();
    assert_eq!(
        done,
        ["export duplicates", "export rejects", "export report", "verify", "rollback"],
        "each once"
    );
    assert!(tasks.iter().all(|task| task[1] == "done"), "{tasks:?}");
    // The rollback's execution has the task's name and returns the result.
    let machine = merchant.stack.file.maintenance_state_machine_arn.clone().expect("the machine's ARN");
    let execution = format!("{}:rollback-{}", machine.replace(":stateMachine:", ":execution:"), tasks[4][3]);
    let ended = merchant.wait_for_end(&execution).await;
    ROLLBACK.check(&ended.output);
    assert_eq!(
        (&ended.output["codes_deleted"], &ended.output["codes_kept"], &ended.output["original_insert_count"]),
        (&json!(40 - claimed), &json!(claimed), &json!(40)),
        "{ended:?}"
    );
    merchant.wait_for_rest().await;
}

/// A task that fails for good ends. The staging of a completed import would be made again for it, but this one waits.
#[tokio::test]
async fn a_failed_task_frees_the_merchant() {
    let merchant = Merchant::new("given up").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..40))).await;
    let table = &merchant.staging_tables(&job, 'b').await[0];
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
    assert_eq!(merchant.post(&format!("/imports/{job}/cancel"), json!({})).await.status, 202);
    merchant.wait_for_rest().await;
}

/// Neither an import whose merchant is busy nor one that has not ended can be rolled back.
#[tokio::test]
async fn maintenance_is_refused_while_an_import_works() {
    let merchant = Merchant::new("busy rollback").await;
    let job = complete_import(&merchant).await;
    wait_for_tasks(&merchant).await;
    let working = merchant.occupy().await;
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
    merchant.release(&working).await;
    assert_eq!(merchant.count_codes_of(&job).await, 40);
    merchant.wait_for_rest().await;
}
