//! The command line during an import: check, import, watch, approve, and their refusals.

use crate::command_line::operator::Operator;
use crate::command_line::shell::Shell;
use crate::csv;
use onceload_tests::files::gzip;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_checked_imported_and_approved() {
    let operator = Operator::new("command line").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    merchant.add_codes(&csv::codes("A", 0..7)).await;
    operator.write_file("a.csv", &csv::file(&csv::codes("A", 0..40)));
    operator.write_file("b.csv.gz", &gzip(&csv::file(&csv::codes("B", 0..30))));
    operator.write_file("c.csv", b"Code;Points\nC-1;1\nC-2;many\n\nC-1;2\n");
    operator.write_file("notes.md", b"not for import");

    let checked = shell.run(&["check", operator.folder(), "--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let report = checked.json();
    assert_eq!((&report["importable"], &report["totals"]["files"]), (&json!(true), &json!(3)), "{report:#}");
    assert_eq!(report["totals"]["records"], json!({ "count": 74, "exact": true }));
    assert_eq!(report["files"][2]["rejects"][0]["reason"], json!("invalid_points"));
    assert!(checked.errors.is_empty(), "nothing but the document: {checked:?}");

    // The checked files are imported without another upload.
    let import = shell.open_terminal(&["import", "--prefix", report["prefix"].as_str().expect("a prefix")]);
    import.wait_for("It waits for approval").await;
    let (code, screen) = import.wait_for_exit().await;
    assert_eq!(code, 0, "{screen}");
    let job = merchant.only_import().await;
    assert!(screen.contains(&job) && screen.contains("awaiting approval"), "{screen}");
    let waiting = merchant.import(&job).await;
    assert_eq!(waiting["counts"]["clean"], json!(64), "33 + 30 + 1: {waiting:#}");

    let status = shell.run(&["status", "last", "--json", "--files"]).await;
    assert_eq!((status.code, &status.json()["job_id"]), (0, &json!(job)), "{status:?}");
    assert_eq!(status.json()["file_list"].as_array().map(Vec::len), Some(3));

    // A wrong word, a wrong number and a missing terminal change nothing.
    let mut approve = shell.open_terminal(&["approve", &job]);
    approve.wait_for("Insert 64 codes? Type YES: ").await;
    assert!(approve.screen().contains("existing duplicates"), "the summary first: {}", approve.screen());
    approve.type_line("yes");
    let (code, screen) = approve.wait_for_exit().await;
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

    let mut approve = shell.open_terminal(&["approve", &job]);
    approve.wait_for("Type YES: ").await;
    approve.type_line("YES");
    let (code, screen) = approve.wait_for_exit().await;
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("verified: yes"), "{screen}");
    assert_eq!((merchant.count_codes_of(&job).await, merchant.count_codes().await), (64, 71));
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
    merchant.wait_for_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_uploaded_in_parts_and_failures_have_exit_codes() {
    let operator = Operator::new("large files").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    // 20 MB are three parts. Long texts keep the number of rows small.
    let text = "x".repeat(250);
    let large: String = (0..27_000).map(|i| format!("L{i:06},{text},{text},{text}\n")).collect();
    let large = operator.write_file("large.csv", format!("code,serial,sku,sku_name\n{large}").as_bytes());
    let imported = shell.run(&["import", &large, "--json"]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    let job = imported.json();
    assert_eq!((&job["status"], &job["counts"]["clean"]), (&json!("awaiting_approval"), &json!(27_000)));
    let id = job["job_id"].as_str().expect("an id").to_owned();
    let size = std::fs::metadata(&large).expect("the file").len();
    assert_eq!(job["bytes"]["total"], json!(size), "the object has the file's size");
    let cancelled = shell.run(&["cancel", &id, "--json"]).await;
    assert_eq!((cancelled.code, &cancelled.json()["status"]), (0, &json!("cancelled")));

    let bad = operator.write_file("bad.csv", b"voucher\nA\n");
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
    assert_eq!(merchant.wait_for_rest().await, 2);

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
async fn an_import_that_already_runs_is_followed() {
    let operator = Operator::new("in the way").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    // Another user's import is only named.
    let busy = merchant.occupy().await;
    let file = operator.write_file("a.csv", &csv::file(&csv::codes("A", 0..5)));
    let refused = shell.run(&["import", &file, "--json"]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    let error = &refused.json()["error"];
    let says = error["message"].as_str().expect("words");
    assert!(
        says.contains("already in progress") && says.contains("onceload import --prefix uploads/"),
        "{says}"
    );
    // The caller's own import is followed, and an interrupt does not stop it.
    let own = format!(
        "INSERT INTO onceload.user_profiles (user_id, import_status, job_id, processing_started_at, heartbeat_at)
         SELECT m.user_id, 'processing', '{busy}', now(), now() FROM onceload.merchant_members m JOIN onceload.users u ON u.id = m.user_id
          WHERE m.merchant_id = '{}' AND u.email = '{}@example.com'
         ON CONFLICT (user_id) DO UPDATE SET import_status = 'processing', job_id = EXCLUDED.job_id,
             processing_started_at = now(), heartbeat_at = now()",
        merchant.id, merchant.id
    );
    merchant.db.batch_execute(&own).await.expect("the caller's own import");
    let import = shell.open_terminal(&["import", &file]);
    import.wait_for(&format!("Following your import {busy}")).await;
    import.wait_for("loading").await;
    let pid = nix::unistd::Pid::from_raw(import.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("an interrupt");
    let (code, screen) = import.wait_for_exit().await;
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("the import goes on"), "{screen}");
    assert_eq!(
        merchant.import(&busy).await["status"],
        json!("loading"),
        "the interrupt does not affect the import"
    );
    merchant.release(&busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_without_imports_gets_an_empty_answer() {
    let operator = Operator::new("nothing yet").await;
    let none = operator.shell.run(&["status"]).await;
    assert_eq!(none.code, 4, "{none:?}");
    let history = operator.shell.run(&["history", "--json"]).await;
    assert_eq!((history.code, history.json()), (0, json!({ "imports": Value::Array(vec![]) })));
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_come_before_the_word_is_typed_and_nothing_of_a_file_acts_on_the_terminal() {
    let operator = Operator::new("warnings").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    // C0, DEL, C1 and a bidirectional override stand in the header, in a value that is rejected, and in one that is taken.
    let name = operator.write_file(
        "warnings.csv",
        "code,sku,\u{202e}size\u{9b}\nA-1,\u{1b}]0;owned\u{7}\u{7f},x\nA-2\u{202e}\u{2066},x,y\nTOTAL\nNULL,a,b\n".as_bytes(),
    );
    let is_safe = |screen: &str| {
        assert!(!screen.chars().any(|c| matches!(c, '\u{7}' | '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')), "{screen:?}");
        assert!(!screen.contains("\u{1b}]") && !screen.contains("\u{1b}[31m"), "{screen:?}");
    };
    let checked = shell.run(&["check", &name]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    is_safe(&checked.text);
    for expected in [
        "control_character",
        "line 4 warning: short_records (1)",
        "TOTAL",
        "\\u{202e}size",
        "line 3 warning: look_alike (1)",
    ] {
        assert!(checked.text.contains(expected), "{expected}: {}", checked.text);
    }
    is_safe(&shell.run(&["check", &name, "--json"]).await.text);

    let imported = shell.run(&["import", &name]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    is_safe(&imported.text);
    is_safe(&imported.errors);
    let job = merchant.only_import().await;
    let status = shell.run(&["status", "last", "--files"]).await;
    is_safe(&status.text);
    let mut approve = shell.open_terminal(&["approve", &job]);
    approve.wait_for("Type YES: ").await;
    let screen = approve.screen();
    is_safe(&screen);
    for expected in
        ["Warnings", "short_records", "null_like_code", "line 5: NULL", "rejected", "control_character 1"]
    {
        assert!(screen.contains(expected), "{expected}: {screen}");
    }
    approve.type_line("no");
    assert_eq!(approve.wait_for_exit().await.0, 3);
    is_safe(&shell.run(&["status", &job, "--files", "--json"]).await.text);

    // A name is quoted by the command line and by the service.
    let odd = operator.write_file("odd\u{1b}[31m\u{7f}\u{9b}\u{202e}.csv", b"code\nA\n");
    let checked = shell.run(&["check", &odd]).await;
    is_safe(&checked.text);
    is_safe(&checked.errors);
    assert!(format!("{checked:?}").contains("odd"), "{checked:?}");
    let hostile = format!("uploads/{}/x\u{1b}[31m\u{9b}.csv", merchant.id);
    let refused = shell.run(&["import", "--prefix", &hostile]).await;
    assert_ne!(refused.code, 0, "{refused:?}");
    is_safe(&refused.errors);
    merchant.cancel(&job).await;
    merchant.wait_for_rest().await;

    let nothing = operator.write_file("nothing.csv", b"code,points\nA,x\nB,y\n");
    let checked = shell.run(&["check", &nothing]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.errors.contains("None of the records can be imported"), "{checked:?}");
}
