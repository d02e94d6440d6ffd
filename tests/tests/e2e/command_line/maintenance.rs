//! The command line after an import: verify, export, roll back, clear, cancel and retry, and their refusals.

use crate::blocker::Blocker;
use crate::blocker::hold_loader_at_rejects;
use crate::command_line::operator::Operator;
use crate::command_line::shell::{Ended, Shell};
use crate::csv;
use crate::merchant::counts;
use crate::stack::until;
use onceload_tests::db::rows;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

const NOBODYS: &str = "0197a3c0-0000-7000-8000-0000000000ff";

/// A downloaded report, decompressed.
fn read_gzip(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    text
}

/// The exit code, which the JSON document repeats, and the error's message.
fn refusal(ended: &Ended) -> (i32, String) {
    let error = &ended.json()["error"];
    assert_eq!(error["exit_code"], json!(ended.code), "{ended:?}");
    (ended.code, error["message"].as_str().expect("words").to_owned())
}

/// Every command on an import, with its confirmation.
const VERBS: [&[&str]; 8] = [
    &["status"],
    &["approve", "--confirm", "YES"],
    &["cancel"],
    &["retry"],
    &["verify"],
    &["export", "duplicates"],
    &["rollback", "--confirm", "DELETE"],
    &["clear", "--confirm", "CLEAR"],
];

async fn run_verb(shell: &Shell, verb: &[&str], job: &str) -> Ended {
    let arguments = [&verb[..1], &[job], &verb[1..], &["--json"]].concat();
    shell.run(&arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_import_is_verified_exported_rolled_back_and_cleared() {
    let operator = Operator::new("command line afterwards").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    // 40 codes are clean, 10 are in production already, 10 occur twice; none is rejected.
    let codes = csv::codes("A", 0..50);
    merchant.add_codes(&codes[40..]).await;
    operator.write_file("a.csv", &csv::file(&codes));
    operator.write_file("b.csv", &csv::file(&codes[..10]));
    let imported = shell.run(&["import", operator.folder(), "--json"]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    let job = imported.json()["job_id"].as_str().expect("an id").to_owned();

    // Refused: while the import waits, for an unknown import, for a stranger.
    for what in VERBS[3..].iter().filter(|what| what[0] != "export") {
        let ended = run_verb(shell, what, &job).await;
        assert_eq!(refusal(&ended).0, 3, "{what:?}: {ended:?}");
    }
    let stranger = Shell { token: merchant.stack.token(1).to_owned(), ..shell.clone() };
    for what in VERBS {
        assert_eq!(refusal(&run_verb(shell, what, NOBODYS).await).0, 4, "{what:?}");
        assert_eq!(refusal(&run_verb(&stranger, what, &job).await).0, 4, "{what:?}");
    }
    let approved = shell.run(&["approve", &job, "--confirm", "YES", "--clean-count", "40", "--json"]).await;
    assert_eq!((approved.code, &approved.json()["status"]), (0, &json!("completed")), "{approved:?}");

    // verify succeeds, and fails after a code was lost by other means.
    let verified = shell.run(&["verify", "last"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.text.trim_end(), "Verified: 40 codes expected, 40 found, the checksum is the same.");
    let job_of_one = async |to: &str| {
        let sql = format!(
            "UPDATE onceload.codes SET import_job_id = {to} WHERE merchant_id = '{}' AND code = 'A-00007'",
            merchant.id
        );
        merchant.db.batch_execute(&sql).await.expect("one code");
    };
    job_of_one("NULL").await;
    let off = shell.run(&["verify", "last", "--json"]).await;
    let (code, says) = refusal(&off);
    assert_eq!(code, 1, "{off:?}");
    assert!(says.contains("39 codes in production, 40 were inserted"), "{says}");
    assert_eq!(off.json()["error"]["answer"]["verification"]["verified"], json!(false));
    job_of_one(&format!("'{job}'")).await;
    let verified = shell.run(&["verify", &job, "--json"]).await;
    assert_eq!((verified.code, &verified.json()["verification"]["verified"]), (0, &json!(true)));

    export_reports(&operator, &job).await;
    roll_back(&operator, &job).await;
    clear_staging(&operator, &job).await;

    // The history also has the stand-in for another import.
    let history = shell.run(&["history", "--status", "rolled_back", "--limit", "5", "--json"]).await;
    assert_eq!(history.json()["imports"][0]["job_id"], json!(job), "{history:?}");
    let month = merchant.import(&job).await["created_at"].as_str().expect("a time")[..7].to_owned();
    for (filter, value, count) in [
        ("--month", month.as_str(), 2),
        ("--month", "2020-01", 0),
        ("--status", "failed", 1),
        ("--user", NOBODYS, 0),
    ] {
        let history = shell.run(&["history", filter, value, "--json"]).await;
        let found = history.json()["imports"].as_array().map(Vec::len);
        assert_eq!((history.code, found), (0, Some(count)), "{filter} {value}: {history:?}");
    }
    assert_eq!(shell.run(&["history", "--month", "2020-01"]).await.text.trim_end(), "No imports.");
    assert_eq!(refusal(&shell.run(&["history", "--month", "last", "--json"]).await).0, 2);
    merchant.wait_for_rest().await;
}

async fn export_reports(operator: &Operator, job: &str) {
    let shell = &operator.shell;
    let reports = Path::new(operator.folder()).join("reports");
    let to = reports.to_str().expect("a path");
    let exported = shell.run(&["export", job, "duplicates", "-o", to]).await;
    assert_eq!(exported.code, 0, "{exported:?}");
    let path = reports.join("duplicates.csv.gz");
    assert!(exported.text.starts_with(path.to_str().expect("a path")), "{exported:?}");
    let text = read_gzip(&path);
    assert_eq!(text.matches(",INTERNAL_DUPLICATE\n").count(), 10, "{text}");
    assert_eq!(text.matches(",DATABASE_DUPLICATE\n").count(), 10, "{text}");

    // An export of nothing is a file with a header.
    let none = shell.run(&["export", job, "rejects", "-o", to, "--json"]).await;
    assert_eq!((none.code, &none.json()["export"]["rows"]), (0, &json!(0)), "{none:?}");
    let files = none.json()["export"]["files"].clone();
    assert_eq!(files.as_array().map(Vec::len), Some(1), "{files}");
    assert!(files[0].get("url").is_none(), "a link is as good as a password: {files}");
    let text = read_gzip(Path::new(files[0]["path"].as_str().expect("a path")));
    assert!(
        text.lines().count() == 1 && text.contains("code,") && text.ends_with(",onceload_raw\n"),
        "{text}"
    );
    let unlisted = shell.run(&["export", job, "claimed", "--json"]).await;
    assert_eq!(refusal(&unlisted).0, 4, "nothing was rolled back: {unlisted:?}");
    assert_eq!(shell.run(&["export", job, "everything"]).await.code, 2);
    let unwritable =
        shell.run(&["export", job, "rejects", "-o", path.to_str().expect("a path"), "--json"]).await;
    assert_eq!(refusal(&unwritable).0, 2, "a file is no folder: {unwritable:?}");

    // While an import works, it can't be exported, verified, rolled back or cleared.
    let working = operator.merchant.occupy().await;
    for what in &VERBS[4..] {
        let (code, says) = refusal(&run_verb(shell, what, &working).await);
        assert_eq!(code, 3, "{what:?}: {says}");
        assert!(says.contains("loading"), "{what:?}: {says}");
    }
    let (code, says) = refusal(&run_verb(shell, VERBS[6], job).await);
    assert!(code == 3 && says.contains("Another import of this merchant is working"), "{says}");
    operator.merchant.release(&working).await;
}

async fn roll_back(operator: &Operator, job: &str) {
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    let claim =
        format!("UPDATE onceload.codes SET claimed = true WHERE import_job_id = '{job}' AND code LIKE '%1'");
    merchant.db.batch_execute(&claim).await.expect("claims");

    let mut rollback = shell.open_terminal(&["rollback", job]);
    let preview =
        "A rollback deletes 36 codes now and keeps 4. Claimed: 4, referenced by other tables: 0, both: 0.";
    rollback.wait_for(preview).await;
    rollback
        .wait_for("Delete the 40 codes of this import? Those that were claimed since stay. Type DELETE: ")
        .await;
    rollback.type_line("delete");
    let (code, screen) = rollback.wait_for_exit().await;
    assert!(code == 3 && screen.contains("Nothing was changed"), "{code}: {screen}");
    let nobody = shell.run(&["rollback", job]).await;
    assert!(nobody.code == 2 && nobody.errors.contains("--confirm DELETE"), "{nobody:?}");
    assert_eq!(merchant.count_codes_of(job).await, 40);

    let mut rollback = shell.open_terminal(&["rollback", job]);
    rollback.wait_for("Type DELETE: ").await;
    rollback.type_line("DELETE");
    let (code, screen) = rollback.wait_for_exit().await;
    assert_eq!(code, 0, "{screen}");
    let shown = |name: &str| {
        let line = screen.lines().rev().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {screen}")).split_whitespace().nth(1).map(str::to_owned)
    };
    assert!(screen.contains(&format!("Import {job}: rolled back")), "{screen}");
    assert_eq!((shown("deleted").as_deref(), shown("kept").as_deref()), (Some("36"), Some("4")), "{screen}");
    assert_eq!((merchant.count_codes_of(job).await, merchant.count_codes().await), (4, 14));
    until("the merchant's codes counted again", async || {
        (counts(&merchant.import(job).await, ["merchant_total"]) == [14]).then_some(())
    })
    .await;
    let (code, says) = refusal(&run_verb(shell, VERBS[6], job).await);
    assert!(code == 3 && says.contains("rolled back"), "{says}");
    assert_eq!(refusal(&run_verb(shell, VERBS[4], job).await).0, 3, "there is nothing to verify");

    let reports = Path::new(operator.folder()).join("reports");
    let list = shell.run(&["export", job, "claimed", "-o", reports.to_str().expect("a path")]).await;
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(read_gzip(&reports.join("claimed.csv.gz")).lines().count(), 5);
}

async fn clear_staging(operator: &Operator, job: &str) {
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    let mut clear = shell.open_terminal(&["clear", job]);
    clear.wait_for("Type CLEAR: ").await;
    clear.type_line("YES");
    let (code, screen) = clear.wait_for_exit().await;
    assert!(code == 3 && screen.contains("Nothing was changed"), "{code}: {screen}");
    assert_ne!(merchant.staging_tables(job, 'b').await.len(), 0);
    let mut clear = shell.open_terminal(&["clear", job]);
    clear.wait_for("Type CLEAR: ").await;
    clear.type_line("CLEAR");
    let (code, screen) = clear.wait_for_exit().await;
    assert!(code == 0 && screen.contains("are gone"), "{code}: {screen}");
    assert_eq!(
        merchant.staging_tables(job, 'b').await.len() + merchant.staging_tables(job, 'd').await.len(),
        0
    );
    assert_eq!(
        shell.run(&["clear", job, "--confirm", "CLEAR"]).await.code,
        0,
        "a repeated request gets the same response"
    );
    // Existing exports can be downloaded, and no others can be made.
    let reports = Path::new(operator.folder()).join("again");
    let again = shell.run(&["export", job, "duplicates", "-o", reports.to_str().expect("a path")]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(reports.join("duplicates.csv.gz").exists());
    let (code, says) = refusal(&shell.run(&["export", job, "report", "--json"]).await);
    assert!(code == 3 && says.contains("gone"), "{says}");
}

/// `cancel` returns after the import has stopped.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_waits_until_the_import_has_stopped() {
    let operator = Operator::new("cancelled by command").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    let cancelled = async |job: &str, held: Blocker| {
        let cancelling = tokio::spawn({
            let (shell, job) = (shell.clone(), job.to_owned());
            async move { shell.run(&["cancel", &job, "--json"]).await }
        });
        let asked =
            format!("SELECT FROM onceload.codes_import_jobs WHERE id = '{job}' AND phase = 'cancelling'");
        until("the request", async || (!rows(&merchant.db, &asked).await.is_empty()).then_some(())).await;
        held.release().await;
        let ended = cancelling.await.expect("a task");
        assert_eq!((ended.code, &ended.json()["status"]), (0, &json!("cancelled")), "{ended:?}");
    };
    // While a file is loaded.
    let busy = merchant.occupy().await;
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..20))).await;
    let job = merchant.only_import().await;
    let loader = hold_loader_at_rejects(merchant, &job, &busy).await;
    cancelled(&job, loader).await;
    // While its codes are inserted.
    let codes = csv::codes("B", 0..20);
    let file = operator.write_file("b.csv", &csv::file(&codes));
    let imported = shell.run(&["import", &file, "--json"]).await;
    let job = imported.json()["job_id"].as_str().expect("an id").to_owned();
    let hold =
        format!("INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{}')", merchant.id, codes[10]);
    let insert = Blocker::hold(&merchant.stack, &hold).await;
    let approved = shell.run(&["approve", &job, "--confirm", "YES", "--no-follow", "--json"]).await;
    assert_eq!((approved.code, &approved.json()["status"]), (0, &json!("processing")), "{approved:?}");
    insert.wait_for_waiter(&merchant.stack).await;
    cancelled(&job, insert).await;
    assert_eq!(run_verb(shell, VERBS[2], &job).await.code, 0, "a repeated request gets the same response");
    assert_eq!(merchant.count_codes().await, 0);
    merchant.wait_for_rest().await;
}

/// The import failed because there was no file; after an upload the retry succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_import_is_retried() {
    let operator = Operator::new("retried by command").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    let prefix = merchant.key("stage", "spring/");
    let failed = shell.run(&["import", "--prefix", &prefix, "--json"]).await;
    let (code, says) = refusal(&failed);
    assert!(code == 1 && says.contains("there is no file under"), "{says}");
    let (code, says) = refusal(&shell.run(&["retry", "last", "--json"]).await);
    assert!(code == 1 && says.contains("there is no file under"), "not yet: {says}");
    merchant.put(&format!("{prefix}a.csv"), csv::file(&csv::codes("A", 0..20))).await;
    let retry = shell.open_terminal(&["retry", "last"]);
    retry.wait_for("It waits for approval").await;
    let (code, screen) = retry.wait_for_exit().await;
    assert_eq!(code, 0, "{screen}");
    let status = shell.run(&["status", "--json"]).await.json();
    assert_eq!((&status["attempt"], &status["error_message"]), (&json!(3), &Value::Null), "{status:#}");
    assert_eq!(counts(&status, ["records", "clean"]), [20, 20]);
    assert_eq!(refusal(&shell.run(&["retry", "last", "--json"]).await).0, 3, "the import has not failed");
    assert_eq!(shell.run(&["cancel", "last", "--json"]).await.json()["status"], json!("cancelled"));
    merchant.wait_for_rest().await;
}
