//! Results keep the names that operators' scripts know.

use onceload_tests::results::{CODES_CHECK_TEMP, INSERT, MARK, ROLLBACK, VALIDATE, VERIFY};
use onceload_tests::{Maintenance, State, World};
use serde_json::{Value, json};
use shared::domain::field::Field;
use shared::domain::task::ClaimedCodes;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn the_results_of_the_steps_keep_their_names() {
    let world = World::new().await;
    world.add_codes(&["C"]).await;
    let mut run = world.import_file("a.csv", "code\nA\nB\nB\nC\n");
    run.until(State::Validate).await.expect(State::Validate);
    let mut validation = run.validate().await.unwrap();
    let mark = validation.as_object_mut().unwrap().remove("mark").unwrap();
    MARK.check(&mark);
    VALIDATE.check(&validation);
    assert_eq!((&validation["validation_errors"], &validation["errors"]), (&json!(0), &json!([])));
    run.at = State::WaitForApproval;
    run.clean = 2;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&world.actor).await;
    let inserted = json!(run.insert().await.unwrap());
    INSERT.check(&inserted);
    assert_eq!(inserted["message"], "Successfully inserted 2 clean codes to production");
    VERIFY.check(&run.verify().await.unwrap());
    run.at = State::Close;
    run.until(State::Done).await.expect(State::Done);
    VERIFY.check(&world.run_task(run.job, Maintenance::Verify).await);
    let rolled_back = world.run_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    ROLLBACK.check(&rolled_back);
    assert_eq!(rolled_back["message"], format!("Rolled back 2 codes from job {}", run.job));
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_rows_are_read_by_their_names() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let sql = format!("SELECT to_jsonb(t) FROM onceload.codes_check_temp('{}') t", run.job);
    let row: Value = serde_json::from_str(&world.db.value(&sql).await).unwrap();
    let columns: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    let beside = CODES_CHECK_TEMP.promised.iter().chain(CODES_CHECK_TEMP.besides).copied();
    assert_eq!(
        columns,
        Field::NAMES.into_iter().chain(beside).collect(),
        "the columns of a file, and where it stands"
    );
    assert_eq!((&row["code"], &row["merchant_id"]), (&json!("A"), &json!(world.merchant)));
    assert_eq!((&row["internal_dup"], &row["existing_dup"]), (&json!(false), &json!(false)));
}
