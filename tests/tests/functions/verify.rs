//! Verifying again, months later: it counts anew and says which sum is off.

use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::upkeep::ask;
use onceload_tests::{Ask, Bench, State};
use serde_json::json;
use shared::db::maintenance::Asked;
use shared::domain::ids::JobId;
use shared::domain::job::Status;
use shared::domain::step::StepErrorKind;
use shared::domain::task::Claimed;

#[tokio::test(flavor = "multi_thread")]
async fn says_what_is_off() {
    let bench = Bench::new().await;
    bench.add_codes(&["OLD"]).await;
    let mut run = bench.file("a.csv", "code,points\nA,1\nB,2\nC,3\nA,4\nOLD,5\nX,x\n\n");
    run.finish(&bench.actor).await.expect(State::Done);
    let task = bench.task(run.job, Ask::Verify).await;
    assert_eq!(bench.ask(run.job, Ask::Verify).await, Asked::UnderWay);
    let good = task.run().await.unwrap();
    assert_eq!(
        good,
        json!({ "success": true, "job_id": run.job, "expected_count": 3, "actual_count": 3, "verified": true, "problems": [] })
    );
    assert_eq!(task.run().await.unwrap(), good);

    // Each in turn, and back.
    for (harm, undo, problems) in [
        (
            "DELETE FROM codes WHERE code = 'A'",
            "INSERT INTO codes (merchant_id, import_job_id, code) SELECT merchant_id, id, 'A' FROM codes_import_jobs",
            &["2 codes in production, 3 were inserted", "the checksum of the codes in production"][..],
        ),
        (
            "UPDATE codes SET code = 'a' WHERE code = 'A'",
            "UPDATE codes SET code = 'A' WHERE code = 'a'",
            &["the checksum of the codes in production"],
        ),
        (
            "CREATE TABLE kept AS TABLE import_rejects; DELETE FROM import_rejects",
            "INSERT INTO import_rejects TABLE kept; DROP TABLE kept",
            &["not every reject is kept"],
        ),
        (
            "UPDATE codes_import_jobs SET records = records + 1",
            "UPDATE codes_import_jobs SET records = records - 1",
            &["records = staged + rejected + skipped does not hold", "the counts of the files"],
        ),
        (
            "UPDATE codes_import_jobs SET internal_duplicates = internal_duplicates + 1",
            "UPDATE codes_import_jobs SET internal_duplicates = internal_duplicates - 1",
            &[
                "staged = inserted + internal + existing - both + late does not hold",
                "the counts of the chunks",
            ],
        ),
        (
            "UPDATE import_files SET skipped = skipped + 1, records = records + 1",
            "UPDATE import_files SET skipped = skipped - 1, records = records - 1",
            &["the counts of the files"],
        ),
    ] {
        bench.db.exec(harm).await;
        let found = bench.done(run.job, Ask::Verify).await;
        assert_eq!(found["verified"], false, "{harm}");
        let said: Vec<&str> =
            found["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(said.len(), problems.len(), "{harm}: {said:?}");
        for (said, expected) in said.iter().zip(problems) {
            assert!(said.starts_with(expected), "{harm}: {said}");
        }
        let mut on_job = bench.job(run.job).await["verification"].clone();
        let verified_at = on_job.as_object_mut().unwrap().remove("verified_at");
        assert!(verified_at.is_some_and(|time| time.is_string()));
        assert_eq!(on_job, found, "on the job");
        bench.db.exec(undo).await;
        assert_eq!(bench.done(run.job, Ask::Verify).await["verified"], true, "{undo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_completed_imports() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(bench.ask(run.job, Ask::Verify).await, Asked::WrongState(Status::AwaitingApproval));
    run.finish(&bench.actor).await.expect(State::Done);
    let stranger = add_member(&bench.db, add_merchant(&bench.db, "Other").await).await;
    assert_eq!(ask(&bench.app.db, &stranger, run.job, Ask::Verify).await, Asked::NotFound);
    assert_eq!(bench.ask(JobId::generate(), Ask::Verify).await, Asked::NotFound);
    // One that inserted nothing is right, too.
    let mut empty = bench.file("b.csv", "code\nA\n");
    empty.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.done(empty.job, Ask::Verify).await["verified"], true);

    // A verification that was asked for before a rollback and runs after it says nothing about the job.
    let late = bench.task(run.job, Ask::Verify).await;
    let before = bench.job(run.job).await["verification"].clone();
    let rollback = bench.task(run.job, Ask::Rollback(Claimed::Keep)).await;
    assert_eq!(bench.ask(run.job, Ask::Verify).await, Asked::RollingBack);
    rollback.run().await.unwrap();
    let error = late.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(bench.job(run.job).await["verification"], before);
    late.give_up(&error).await;
    assert_eq!(bench.ask(run.job, Ask::Verify).await, Asked::WrongState(Status::RolledBack));
}
