//! `onceload mend`: a file is corrected or left out, and what the import does then is said and followed.

use crate::command_line::operator::Operator;
use crate::csv;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn failed_files_are_mended_one_after_the_other() {
    let operator = Operator::new("mending").await;
    let (merchant, shell) = (&operator.merchant, &operator.shell);
    operator.write_file("a.csv", &csv::file(&csv::codes("A", 0..10)));
    operator.write_file("bad.csv", b"code,points\nB-1,1\nB-2,\"2\n");
    operator.write_file("worse.csv", b"code,points\nC-1,\"1\n");
    let failed = shell.run(&["import", operator.folder()]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.errors.contains("unterminated_quote") && failed.errors.contains("onceload mend"),
        "{failed:?}"
    );
    let job = merchant.only_import().await;

    let corrected = operator.write_file("corrected.csv", b"code,points\nB-1,1\nB-2,2\n");
    let none = shell.run(&["mend", "last", "none.csv", "--with", &corrected]).await;
    assert_eq!(none.code, 4, "{none:?}");
    let one = shell.run(&["mend", "last", "bad.csv", "--with", &corrected]).await;
    assert_eq!(one.code, 0, "{one:?}");
    assert!(one.errors.contains("bad.csv is replaced by corrected.csv"), "{one:?}");
    assert!(one.text.contains("1 file to go") && one.text.contains("worse.csv"), "{one:?}");
    assert!(!one.text.contains("bad.csv"), "{one:?}");
    let two = shell.run(&["mend", &job, "3", "--leave-out"]).await;
    assert_eq!(two.code, 0, "{two:?}");
    assert!(two.errors.contains("worse.csv is left out") && two.text.contains("onceload approve"), "{two:?}");
    assert_eq!(merchant.import(&job).await["counts"]["clean"], json!(12));

    let again = shell.run(&["mend", "last", "bad.csv", "--leave-out", "--json"]).await;
    assert_eq!((again.code, &again.json()["status"]), (0, &json!("awaiting_approval")), "{again:?}");
    assert_eq!(again.json()["counts"]["clean"], json!(10));
    let files = shell.run(&["status", "last", "--files"]).await;
    assert!(files.text.contains("left out  corrected.csv (replaces bad.csv)"), "{files:?}");
    let last = shell.run(&["mend", "last", "a.csv", "--leave-out", "--json"]).await;
    assert_eq!(last.code, 3, "{last:?}");
    let folder = shell.run(&["mend", "last", "a.csv", "--with", operator.folder()]).await;
    assert_eq!(folder.code, 2, "{folder:?}");
    assert_eq!(shell.run(&["cancel", "last"]).await.code, 0);
    let late = shell.run(&["mend", "last", "a.csv", "--leave-out"]).await;
    assert!(late.code == 3 && late.errors.contains("cancelled"), "{late:?}");
    merchant.wait_for_rest().await;
}
