//! The functions log JSON and no secret.

use crate::csv;
use crate::merchant::Merchant;
use onceload_tests::db::value;
use serde_json::{Value, json};

#[tokio::test]
async fn logs_are_json_without_secrets() {
    let merchant = Merchant::new("logs").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("TOP-SECRET", 0..20))).await;
    let token = format!("SELECT task_token FROM onceload.codes_import_jobs WHERE id = '{job}'");
    let task_token = value(&merchant.db, &token).await;
    merchant.approve(&job, 19).await;
    merchant.post(&format!("/imports/{job}/approve"), "{").await;
    assert_eq!(merchant.approve(&job, 20).await.status, 202);
    merchant.wait_for_status(&job, "completed").await;
    let refused = json!({ "merchant_id": merchant.id, "files": ["elsewhere"] });
    assert_eq!(merchant.wait_for_end(&merchant.start_execution(&refused).await).await.error, "InvalidInput");

    let file = &merchant.stack.file;
    let password = file.database_url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password =
        password.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password.to_owned());
    let mut secrets =
        vec![task_token, "TOP-SECRET".to_owned(), "Bearer ".to_owned(), "postgres://".to_owned()];
    secrets.extend(file.users.iter().map(|user| user.token.clone()));
    secrets.extend(password.filter(|password| password.len() > 7));
    assert!(secrets.iter().all(|secret| !secret.is_empty()));
    let mut logged = 0;
    for entry in std::fs::read_dir(merchant.stack.directory.join("logs/functions")).expect("the logs") {
        let path = entry.expect("a log").path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a log")).into_owned();
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{} holds a secret", path.display());
        }
        // The last line may be incomplete.
        for line in text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
            let entry: Result<Value, _> = serde_json::from_str(line);
            assert!(entry.is_ok_and(|entry| entry.is_object()), "{}: not JSON: {line}", path.display());
            logged += 1;
        }
    }
    assert!(logged > 0);
    merchant.wait_for_rest().await;
}
