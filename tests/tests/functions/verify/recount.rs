//! Verifying a completed import again: it recounts and names each count that is wrong.

use import_jobs::maintain::Asked;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::maintenance::request_maintenance;
use onceload_tests::{Maintenance, State, World};
use serde_json::json;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepErrorKind;
use shared::domain::task::ClaimedCodes;

#[tokio::test(flavor = "multi_thread")]
async fn verification_names_each_count_that_is_wrong() {
    let world = World::new().await;
    world.add_codes(&["OLD"]).await;
    let run = world.import_to_end("a.csv", "code,points\nA,1\nB,2\nC,3\nA,4\nOLD,5\nX,x\n\n").await;
    let task = world.start_task(run.job, Maintenance::Verify).await;
    assert_eq!(world.request_maintenance(run.job, Maintenance::Verify).await, Asked::UnderWay);
    let good = task.run().await.unwrap();
    assert_eq!(
        good,
        json!({ "success": true, "job_id": run.job, "expected_count": 3, "actual_count": 3, "verified": true, "problems": [] })
    );
    assert_eq!(task.run().await.unwrap(), good);

    // Apply each harm, then undo it.
    for (harm, undo, problems) in [
        (
            "DELETE FROM onceload.codes WHERE code = 'A'",
            "INSERT INTO onceload.codes (merchant_id, import_job_id, code) SELECT merchant_id, id, 'A' FROM onceload.codes_import_jobs",
            &["2 codes in production, 3 were inserted", "the checksum of the codes in production"][..],
        ),
        (
            "UPDATE onceload.codes SET code = 'a' WHERE code = 'A'",
            "UPDATE onceload.codes SET code = 'A' WHERE code = 'a'",
            &["the checksum of the codes in production"],
        ),
        (
            "CREATE TABLE onceload.kept AS TABLE onceload.import_rejects; DELETE FROM onceload.import_rejects",
            "INSERT INTO onceload.import_rejects TABLE onceload.kept; DROP TABLE onceload.kept",
            &["not every reject is kept"],
        ),
        (
            "UPDATE onceload.codes_import_jobs SET records = records + 1",
            "UPDATE onceload.codes_import_jobs SET records = records - 1",
            &["records = staged + rejected + skipped does not hold", "the counts of the files"],
        ),
        (
            "UPDATE onceload.codes_import_jobs SET internal_duplicates = internal_duplicates + 1",
            "UPDATE onceload.codes_import_jobs SET internal_duplicates = internal_duplicates - 1",
            &[
                "staged = inserted + internal + existing - both + late does not hold",
                "the counts of the chunks",
            ],
        ),
        (
            "UPDATE onceload.import_files SET skipped = skipped + 1, records = records + 1",
            "UPDATE onceload.import_files SET skipped = skipped - 1, records = records - 1",
            &["the counts of the files"],
        ),
    ] {
        world.db.exec(harm).await;
        let found = world.run_task(run.job, Maintenance::Verify).await;
        assert_eq!(found["verified"], false, "{harm}");
        let named: Vec<&str> =
            found["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(named.len(), problems.len(), "{harm}: {named:?}");
        for (named, expected) in named.iter().zip(problems) {
            assert!(named.starts_with(expected), "{harm}: {named}");
        }
        let mut on_job = world.read_job(run.job).await["verification"].clone();
        let verified_at = on_job.as_object_mut().unwrap().remove("verified_at");
        assert!(verified_at.is_some_and(|time| time.is_string()));
        assert_eq!(on_job, found, "on the job");
        world.db.exec(undo).await;
        assert_eq!(world.run_task(run.job, Maintenance::Verify).await["verified"], true, "{undo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_completed_imports_are_verified() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\n").await;
    assert_eq!(
        world.request_maintenance(run.job, Maintenance::Verify).await,
        Asked::WrongState(Status::AwaitingApproval)
    );
    run.finish(&world.actor).await.expect(State::Done);
    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(
        request_maintenance(&world.app.db, &stranger, run.job, Maintenance::Verify).await,
        Asked::NotFound
    );
    assert_eq!(world.request_maintenance(JobId::generate(), Maintenance::Verify).await, Asked::NotFound);
    // An import that inserted nothing can be verified, too.
    let mut empty = world.import_file("b.csv", "code\nA\n");
    empty.until(State::Done).await.expect(State::Done);
    assert_eq!(world.run_task(empty.job, Maintenance::Verify).await["verified"], true);

    // A verification that was requested before a rollback and runs after it records nothing on the job.
    let late = world.start_task(run.job, Maintenance::Verify).await;
    let before = world.read_job(run.job).await["verification"].clone();
    let rollback = world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    assert_eq!(world.request_maintenance(run.job, Maintenance::Verify).await, Asked::RollingBack);
    rollback.run().await.unwrap();
    let error = late.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(world.read_job(run.job).await["verification"], before);
    late.abandon(&error).await;
    assert_eq!(
        world.request_maintenance(run.job, Maintenance::Verify).await,
        Asked::WrongState(Status::RolledBack)
    );
}
