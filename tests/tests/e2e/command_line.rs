//! What an operator does, by the command line: check, import, watch, approve, and every way in which that is refused.

use crate::csv;
use crate::office::Office;
use crate::terminal::Shell;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn from_a_folder_to_production() {
    let office = Office::new("command line").await;
    let (merchant, shell) = (&office.merchant, &office.shell);
    merchant.has(&csv::codes("A", 0..7)).await;
    office.put("a.csv", &csv::file(&csv::codes("A", 0..40)));
    office.put("b.csv.gz", &csv::gzip(&csv::file(&csv::codes("B", 0..30))));
    office.put("c.csv", b"Code;Points\nC-1;1\nC-2;many\n\nC-1;2\n");
    office.put("notes.md", b"not for import");

    let checked = shell.run(&["check", office.folder(), "--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let said = checked.json();
    assert_eq!((&said["importable"], &said["totals"]["files"]), (&json!(true), &json!(3)), "{said:#}");
    assert_eq!(said["totals"]["records"], json!({ "count": 74, "exact": true }));
    assert_eq!(said["files"][2]["rejects"][0]["reason"], json!("invalid_points"));
    assert!(checked.errors.is_empty(), "nothing but the document: {checked:?}");

    // What was checked is imported, without a second upload.
    let mut import = shell.terminal(&["import", "--prefix", said["prefix"].as_str().expect("a prefix")]);
    import.shows("It waits for approval").await;
    let (code, screen) = import.ends().await;
    assert_eq!(code, 0, "{screen}");
    let job = merchant.only_import().await;
    assert!(screen.contains(&job) && screen.contains("awaiting approval"), "{screen}");
    let waiting = merchant.import(&job).await;
    assert_eq!(waiting["counts"]["clean"], json!(64), "33 + 30 + 1: {waiting:#}");

    let status = shell.run(&["status", "last", "--json", "--files"]).await;
    assert_eq!((status.code, &status.json()["job_id"]), (0, &json!(job)), "{status:?}");
    assert_eq!(status.json()["file_list"].as_array().map(Vec::len), Some(3));

    // Not the word, then not the number, then nobody to ask: nothing happens.
    let mut approve = shell.terminal(&["approve", &job]);
    approve.shows("Insert 64 codes? Type YES: ").await;
    assert!(approve.screen().contains("existing duplicates"), "the summary first: {}", approve.screen());
    approve.types("yes");
    let (code, screen) = approve.ends().await;
    assert_eq!(code, 3, "{screen}");
    assert!(screen.contains("Nothing was changed"), "{screen}");
    let wrong = shell.run(&["approve", &job, "--confirm", "YES", "--clean-count", "63"]).await;
    assert_eq!(wrong.code, 3, "{wrong:?}");
    let nobody = shell.run(&["approve", &job]).await;
    assert_eq!(nobody.code, 2, "{nobody:?}");
    assert!(nobody.errors.contains("--confirm YES"), "{nobody:?}");
    let wrong = shell.run(&["approve", &job, "--confirm", "DELETE", "--json"]).await;
    assert_eq!((wrong.code, &wrong.json()["error"]["exit_code"]), (3, &json!(3)));
    let early = shell.run(&["rollback", &job, "--confirm", "DELETE"]).await;
    assert_eq!(early.code, 3, "only what is completed: {early:?}");
    assert_eq!(merchant.import(&job).await["status"], json!("awaiting_approval"));

    let mut approve = shell.terminal(&["approve", &job]);
    approve.shows("Type YES: ").await;
    approve.types("YES");
    let (code, screen) = approve.ends().await;
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("verified: yes"), "{screen}");
    assert_eq!((merchant.codes_of(&job).await, merchant.code_count().await), (64, 71));
    let twice = shell.run(&["approve", &job, "--confirm", "YES", "--json"]).await;
    assert_eq!(twice.code, 3, "{twice:?}");
    assert!(twice.json()["error"]["message"].as_str().is_some_and(|m| m.contains("completed")), "{twice:?}");
    let late = shell.run(&["cancel", &job]).await;
    assert_eq!(late.code, 3, "{late:?}");

    let history = shell.run(&["history", "--json", "--status", "completed"]).await;
    let imports = history.json()["imports"].clone();
    assert_eq!(
        imports.as_array().map(|all| all.iter().map(|i| i["job_id"].clone()).collect()),
        Some(vec![json!(job)])
    );
    let history = shell.run(&["history"]).await;
    assert!(history.text.contains(&job) && history.text.contains("completed"), "{history:?}");
    merchant.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_go_in_parts_and_failures_have_exit_codes() {
    let office = Office::new("large files").await;
    let (merchant, shell) = (&office.merchant, &office.shell);
    // 20 MB: three parts. Long texts, so that there are few rows.
    let text = "x".repeat(250);
    let large: String = (0..27_000).map(|i| format!("L{i:06},{text},{text},{text}\n")).collect();
    let large = office.put("large.csv", format!("code,serial,sku,sku_name\n{large}").as_bytes());
    let imported = shell.run(&["import", &large, "--json"]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    let job = imported.json();
    assert_eq!((&job["status"], &job["counts"]["clean"]), (&json!("awaiting_approval"), &json!(27_000)));
    let id = job["job_id"].as_str().expect("an id").to_owned();
    let size = std::fs::metadata(&large).expect("the file").len();
    assert_eq!(job["bytes"]["total"], json!(size), "byte for byte as long");
    let cancelled = shell.run(&["cancel", &id, "--json"]).await;
    assert_eq!((cancelled.code, &cancelled.json()["status"]), (0, &json!("cancelled")));

    let bad = office.put("bad.csv", b"voucher\nA\n");
    let checked = shell.run(&["check", &bad, "--json"]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    let answer = &checked.json()["error"]["answer"];
    assert_eq!(answer["files"][0]["fault"]["reason"], json!("no_code_column"), "{answer:#}");
    let mapped = shell.run(&["check", &bad, "--map", "code=voucher"]).await;
    assert_eq!(mapped.code, 0, "{mapped:?}");
    let failed = shell.run(&["import", &bad, "--json"]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let error = failed.json()["error"]["message"].as_str().expect("words").to_owned();
    assert!(error.contains("no_code_column"), "{error}");
    assert_eq!(merchant.at_rest().await, 2);

    for (arguments, code) in [
        (vec!["import"], 2),
        (vec!["import", "/none/there.csv"], 2),
        (vec!["explode"], 2),
        (vec!["status", "me"], 2),
        (vec!["status", "0197a3c0-0000-7000-8000-0000000000ff"], 4),
        (vec!["history", "--status", "done"], 2),
        (vec!["--help"], 0),
        (vec!["completions", "bash"], 0),
    ] {
        let ended = shell.run(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    }
    let stranger = Shell { merchant: Uuid::now_v7().to_string(), ..shell.clone() };
    assert_eq!(stranger.run(&["history"]).await.code, 4);
    let unknown = Shell { token: "no.good.token".into(), ..shell.clone() };
    assert_eq!(unknown.run(&["history"]).await.code, 4);
    let mut nowhere = shell.command(&["history", "--json"]);
    nowhere.env("ONCELOAD_API_URL", "http://127.0.0.1:9");
    let nowhere = shell.run_command(nowhere).await;
    assert_eq!((nowhere.code, &nowhere.json()["error"]["exit_code"]), (5, &json!(5)), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_in_the_way_is_followed() {
    let office = Office::new("in the way").await;
    let (merchant, shell) = (&office.merchant, &office.shell);
    // Another import of the merchant, somebody else's: it is only named.
    let busy = merchant.is_busy().await;
    let file = office.put("a.csv", &csv::file(&csv::codes("A", 0..5)));
    let refused = shell.run(&["import", &file, "--json"]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    let error = &refused.json()["error"];
    let says = error["message"].as_str().expect("words");
    assert!(
        says.contains("already in progress") && says.contains("onceload import --prefix uploads/"),
        "{says}"
    );
    // The caller's own: it is followed, and an interrupt lets it go on.
    let own = format!(
        "INSERT INTO user_profiles (user_id, import_status, job_id, processing_started_at, heartbeat_at)
         SELECT m.user_id, 'processing', '{busy}', now(), now() FROM merchant_members m JOIN users u ON u.id = m.user_id
          WHERE m.merchant_id = '{}' AND u.email = '{}@example.com'
         ON CONFLICT (user_id) DO UPDATE SET import_status = 'processing', job_id = EXCLUDED.job_id,
             processing_started_at = now(), heartbeat_at = now()",
        merchant.id, merchant.id
    );
    merchant.db.batch_execute(&own).await.expect("the caller's own import");
    let mut import = shell.terminal(&["import", &file]);
    import.shows(&format!("Following your import {busy}")).await;
    import.shows("loading").await;
    let pid = nix::unistd::Pid::from_raw(import.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("an interrupt");
    let (code, screen) = import.ends().await;
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("the import goes on"), "{screen}");
    assert_eq!(merchant.import(&busy).await["status"], json!("loading"), "nothing happened to it");
    merchant.gives_way(&busy).await;
}

/// Members of an object that scripts may rely on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_show_is_said_so() {
    let office = Office::new("nothing yet").await;
    let none = office.shell.run(&["status"]).await;
    assert_eq!(none.code, 4, "{none:?}");
    let history = office.shell.run(&["history", "--json"]).await;
    assert_eq!((history.code, history.json()), (0, json!({ "imports": Value::Array(vec![]) })));
}
