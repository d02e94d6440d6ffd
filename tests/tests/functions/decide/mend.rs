//! Mending an import: a file is replaced or left out, everything else stays as it is, and what was approved is void.

use import_jobs::decide::Decision;
use import_jobs::mend::Mended;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::status::Status;

fn is_taken(mended: &Mended) -> bool {
    matches!(mended, Mended::Decided(Decision::Taken { .. }))
}

/// `row_number code internal_dup` of what is staged, in order.
async fn read_staged(world: &World, job: JobId) -> Vec<String> {
    let sql =
        "SELECT concat_ws(' ', row_number / 1000000000000, row_number % 1000000000000, code, internal_dup)
                 FROM onceload.codes_check_temp";
    world.db.column(&format!("{sql}('{job}') ORDER BY row_number")).await
}

async fn read_files(world: &World, job: JobId) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', file_no, status, records, staged, rejected) FROM onceload.import_files";
    world.db.column(&format!("{sql} WHERE job_id = '{job}' ORDER BY file_no")).await
}

async fn read_codes(world: &World) -> Vec<String> {
    world.db.column("SELECT code FROM onceload.codes ORDER BY code COLLATE \"C\"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_failed_file_that_is_mended_begins_an_attempt_that_loads_only_what_is_not_loaded() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\nSAME\n");
    let b = world.upload("b.csv", "code,sku\nB1,\"open\n");
    let c = world.upload("c.csv", "code,sku\nC1,\"open\n");
    let mut run = world.import_objects(&[&a, &b, &c]);
    run.until(State::Done).await.error();
    let failed = world.read_job(run.job).await;

    let better_c = world.correct("1/c.csv", "code\nC1\nSAME\n");
    assert!(is_taken(&run.mend(&world.actor, 3, Some(&better_c)).await));
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(1)), "b is still failed");
    let message = job["error_message"].as_str().unwrap();
    assert!(message.starts_with("1 of 3 files rejected: ") && message.contains("b.csv"), "{message}");
    assert!(!message.contains("c.csv"), "{message}");
    let errors = job["validation_errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["file"]), (1, &json!(b)));
    assert_ne!(job["source_fingerprint"], failed["source_fingerprint"]);
    assert_eq!(world.read_outbox(run.job).await, ["state_changed"], "nothing starts yet");
    assert_eq!(read_files(&world, run.job).await, ["1 loaded 2 2 0", "2 failed", "3 pending"]);

    // The name sorts before all others; the file's place stays.
    let better_b = world.correct("0/zero.csv", "code\nSAME\nB1\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better_b)).await));
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("loading"), &json!(2)));
    assert_eq!((&job["leased"], &job["validation_errors"]), (&json!(true), &json!([])));
    assert_eq!(world.read_outbox(run.job).await, ["state_changed", "start_execution"]);
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better_b)).await), "a double click");
    assert_eq!(world.read_outbox(run.job).await.len(), 2, "it starts nothing more");

    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [2, 3]);
    second.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(
        read_staged(&world, run.job).await,
        ["1 1 A1 f", "1 2 SAME f", "2 1 SAME t", "2 2 B1 f", "3 1 C1 f", "3 2 SAME t"]
    );
    assert_eq!(world.s3.reads(&a), 2, "its head and its records, in the first attempt");
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "B1", "C1", "SAME"]);
    assert_eq!(world.read_job(run.job).await["verification"]["verified"], true);
    let files = "SELECT concat_ws(' ', key, replaces) FROM onceload.import_files ORDER BY file_no";
    assert_eq!(world.db.column(files).await, [a, format!("{better_b} {b}"), format!("{better_c} {c}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_replaced_while_the_import_waits_for_approval() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code,points\nA1,1\nA2,x\nSAME,1\n");
    let b = world.upload("b.csv", "code,points\nB1,1\nSAME,2\nB2,y\nB3,z\n");
    let mut run = world.import_objects(&[&a, &b]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(run.clean, 3);
    // Of a plan with more chunks than the next one.
    let table = format!("onceload_staging.d_{}_77", run.job.0.simple());
    world
        .db
        .exec(&format!("CREATE TABLE {table} AS SELECT 2000000000001 AS row_number, 1::smallint AS flags"))
        .await;

    let better = world.correct("b.csv", "code\nB2\nB3\nB4\nB5\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better)).await));
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("loading"), &json!(2)));
    for void in ["task_token", "execution_arn", "total_codes_to_insert", "validation_passed"] {
        assert_eq!(job[void], Value::Null, "{void}");
    }
    assert_eq!(job["leased"], true);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.import_chunks").await, 0);
    assert_eq!(
        world.read_outbox(run.job).await,
        ["state_changed", "stop_execution", "start_execution"],
        "the execution that waits is stopped"
    );
    let stopped = world
        .db
        .value("SELECT payload ->> 'execution_arn' FROM onceload.outbox WHERE kind = 'stop_execution'")
        .await;
    assert_eq!(stopped, run.execution_arn);
    assert_eq!(
        run.decide_approval(&world.actor, 3, false).await,
        Decision::WrongState(Status::Loading),
        "an approval of what it was before"
    );

    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [2]);
    second.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(
        read_staged(&world, run.job).await,
        ["1 1 A1 f", "1 3 SAME f", "2 1 B2 f", "2 2 B3 f", "2 3 B4 f", "2 4 B5 f"]
    );
    let rejects = "SELECT concat_ws(' ', file_no, record_number) FROM onceload.import_rejects ORDER BY 1";
    assert_eq!(world.db.column(rejects).await, ["1 2"], "those of the old file are gone");
    assert_eq!(run.decide_approval(&world.actor, 3, false).await, Decision::WrongCount { clean: 6 });
    assert!(run.insert().await.is_err(), "the old execution");
    second.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    let counts = ["records", "staged", "rejected", "codes_inserted"].map(|name| job[name].as_i64().unwrap());
    assert_eq!(counts, [7, 6, 1, 6]);
    assert_eq!(job["verification"]["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_left_out_and_may_come_back() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\nA2\n");
    let b = world.upload("b.csv", "code,points\nB1,1\nA1,1\nB2,x\n");
    let mut run = world.import_objects(&[&a, &b]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert!(is_taken(&run.mend(&world.actor, 2, None).await));
    assert!(is_taken(&run.mend(&world.actor, 2, None).await), "a double click");

    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [2], "to delete what was loaded of it");
    assert_eq!(world.count_staged(run.job).await, 4, "until its load commits");
    second.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(read_staged(&world, run.job).await, ["1 1 A1 f", "1 2 A2 f"]);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.import_rejects").await, 0);
    let view = world.show(run.job).await;
    assert_eq!(view["files"], json!({ "total": 1, "loaded": 1, "failed": 0 }));
    assert_eq!((&view["bytes"]["total"], &view["counts"]["records"]), (&json!(11), &json!(2)));
    assert_eq!(run.mend(&world.actor, 1, None).await, Mended::LastFile);
    // Another mend of the file that is left out is nothing to do, and nothing is marked again for it.
    assert!(is_taken(&run.mend(&world.actor, 2, None).await));
    assert_eq!(world.read_status(run.job).await, "awaiting_approval");

    let back = world.correct("b.csv", "code\nB1\nB2\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&back)).await));
    let mut third = Run::of_job(&world.app, run.job, 3);
    third.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "A2", "B1", "B2"]);
    assert_eq!(world.read_job(run.job).await["verification"]["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_files_are_left_out() {
    let world = World::new().await;
    let keys = [
        world.upload("a.csv", "code\nA1\n"),
        world.upload("b.csv", "code,sku\nB,\"\n"),
        world.upload("c.csv", "code,sku\nC,\"\n"),
    ];
    let mut run = world.import_objects(&keys.each_ref().map(String::as_str));
    run.until(State::Done).await.error();
    assert!(is_taken(&run.mend(&world.actor, 2, None).await));
    assert_eq!(world.read_status(run.job).await, "failed");
    assert!(world.read_job(run.job).await["error_message"].as_str().unwrap().starts_with("1 of 2 files"));
    assert!(is_taken(&run.mend(&world.actor, 3, None).await));
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1"]);
    assert_eq!(read_files(&world, run.job).await, ["1 loaded 1 1 0", "2 left_out 0 0 0", "3 left_out 0 0 0"]);
}

/// Nothing is staged when a header is at fault: then everything is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_header_was_at_fault_is_mended() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\n");
    let b = world.upload("b.csv", "serial\nB1\n");
    let mut run = world.import_objects(&[&a, &b]);
    let error = run.until(State::Done).await.error();
    assert!(error.message.contains("no_code_column"), "{error}");
    run.job = JobId(world.db.value("SELECT id FROM onceload.codes_import_jobs").await.parse().unwrap());
    let worse = world.correct("worse.csv", "sku\nB1\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&worse)).await));
    let mut second = Run::of_job(&world.app, run.job, 2);
    let error = second.until(State::Done).await.error();
    assert!(error.message.contains(&worse), "{error}");
    let better = world.correct("better.csv", "code\nB1\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better)).await));
    let mut third = Run::of_job(&world.app, run.job, 3);
    third.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(third.files, [1, 2]);
    third.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "B1"]);
    let replaced = world.db.value("SELECT replaces FROM onceload.import_files WHERE file_no = 2").await;
    assert_eq!(replaced, b, "what the import was started with");
}

/// Its place is kept, whether it comes late or another takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_is_mended_or_found_by_a_retry() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\nSAME\n");
    let (b, c) = (world.key_under_stage("b.csv"), world.key_under_stage("c.csv"));
    let d = world.upload("d.csv", "serial\n1\n");
    let mut run = world.import_objects(&[&a, &b, &c, &d]);
    let error = run.until(State::Done).await.error();
    assert!(error.message.starts_with("3 of 4 files rejected: "), "all at once: {error}");
    assert!(error.message.contains(&format!("{b}: missing_object")), "{error}");
    run.job = JobId(world.db.value("SELECT id FROM onceload.codes_import_jobs").await.parse().unwrap());
    assert_eq!(read_files(&world, run.job).await, ["1 pending", "2 failed", "3 failed", "4 failed"]);

    assert!(is_taken(&run.mend(&world.actor, 4, None).await));
    let better = world.correct("b.csv", "code\nB1\nSAME\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better)).await));
    let before = world.read_job(run.job).await["source_fingerprint"].clone();
    // The third one comes late.
    world.upload("c.csv", "code\nC1\n");
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [1, 2, 3, 4]);
    assert_ne!(world.read_job(run.job).await["source_fingerprint"], before);
    // It is frozen now.
    world.upload("c.csv", "code\nLATER\n");
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "B1", "C1", "SAME"]);
    assert_eq!(
        read_files(&world, run.job).await,
        ["1 loaded 2 2 0", "2 loaded 2 2 0", "3 loaded 1 1 0", "4 left_out 0 0 0"]
    );
    // The same files again are another import, which finds them imported.
    let mut again = world.import_objects(&[&a, &better, &c]);
    again.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.read_job(again.job).await["total_codes_to_insert"], 1, "LATER");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_staging_was_cleared_a_mend_loads_every_file_again() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code,points\nA1,1\nA2,x\n");
    let b = world.upload("b.csv", "code,points\nB1,1\nB2,x\n");
    let c = world.upload("c.csv", "code,sku\nC,\"\n");
    let mut run = world.import_objects(&[&a, &b, &c]);
    run.until(State::Done).await.error();
    assert!(is_taken(&run.mend(&world.actor, 2, None).await), "b was loaded");
    world.request_maintenance(run.job, Maintenance::Clear).await;
    let better = world.correct("c.csv", "code\nC\n");
    assert!(is_taken(&run.mend(&world.actor, 3, Some(&better)).await));
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [1, 2, 3]);
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "C"]);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["rejected"], &job["verification"]["verified"]), (&json!(1), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_that_is_lost_after_a_mend_is_loaded_again() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\n");
    let b = world.upload("b.csv", "code\nB1\nB2\n");
    let c = world.upload("c.csv", "code\nC1\n");
    let mut run = world.import_objects(&[&a, &b, &c]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let better = world.correct("b.csv", "code\nB9\n");
    assert!(is_taken(&run.mend(&world.actor, 2, Some(&better)).await));
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    world.db.exec(&format!("TRUNCATE onceload_staging.b_{}_00", run.job.0.simple())).await;
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_codes(&world).await, ["A1", "B9", "C1"]);
    assert_eq!(world.read_job(run.job).await["restage_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_needs_the_right_state_merchant_and_file() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let better = world.correct("a.csv", "code\nB\n");
    let mend = async |run: &Run, file_no| run.mend(&world.actor, file_no, Some(&better)).await;
    assert_eq!(mend(&run, 1).await, Decision::WrongState(Status::Loading).into());
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(run.mend(&stranger, 1, Some(&better)).await, Decision::NotFound.into());
    assert_eq!(mend(&run, 2).await, Decision::NotFound.into());
    assert_eq!(world.read_status(run.job).await, "awaiting_approval");
    run.approve(&world.actor).await;
    assert_eq!(mend(&run, 1).await, Decision::WrongState(Status::Processing).into());
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(mend(&run, 1).await, Decision::WrongState(Status::Completed).into());
    assert_eq!(read_codes(&world).await, ["A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mend_changes_nothing() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let before = (read_files(&world, run.job).await, world.read_job(run.job).await);
    // Another import of the merchant works.
    let mut other = world.import_file("o.csv", "code\nO\n");
    other.until(State::LoadFiles).await.expect(State::LoadFiles);
    let better = world.correct("a.csv", "code\nB\n");
    let busy = Decision::MerchantBusy { by: Some(other.job) };
    assert_eq!(run.mend(&world.actor, 1, Some(&better)).await, busy.into());
    other.until(State::InsertCodes).await.expect(State::InsertCodes);
    // Another import has the very files that this one would have.
    let mut same = world.import_objects(&[&better]);
    same.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(run.mend(&world.actor, 1, Some(&better)).await, Decision::SourceActive.into());
    assert_eq!(before, (read_files(&world, run.job).await, world.read_job(run.job).await));
    same.cancel(&world.actor).await;
    assert!(is_taken(&run.mend(&world.actor, 1, Some(&better)).await));
    // And nobody else may import them now.
    let mut late = world.import_objects(&[&better]);
    let error = late.until(State::LoadFiles).await.error();
    assert!(error.message.contains(&run.job.to_string()), "{error}");
}

/// Of two mends of the last two failed files at once, the second one begins the attempt.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_mends_begin_one_attempt() {
    let world = World::new().await;
    for round in 0..6 {
        let keys: Vec<String> =
            (0..2).map(|i| world.upload(&format!("{round}/{i}.csv"), "code,sku\nX,\"\n")).collect();
        let mut run = world.import_objects(&[&keys[0], &keys[1]]);
        run.until(State::Done).await.error();
        let mends = [1, 2].map(|file_no| {
            let (run, actor) = (run.with_own_connections(&world), world.actor.clone());
            let better =
                world.correct(&format!("{round}/{file_no}.csv"), format!("code\n{round}-{file_no}\n"));
            async move { run.mend(&actor, file_no, Some(&better)).await }
        });
        assert!(all_at_once(mends).await.iter().all(is_taken));
        let started =
            world.read_outbox(run.job).await.iter().filter(|kind| *kind == "start_execution").count();
        assert_eq!(started, 1);
        let mut second = Run::of_job(&world.app, run.job, 2);
        second.finish(&world.actor).await.expect(State::Done);
    }
    assert_eq!(world.count_codes().await, 12);
}

/// Either the codes that were approved go in, or those of the mended files wait for another approval.
#[tokio::test(flavor = "multi_thread")]
async fn either_the_approval_or_the_concurrent_mend_holds() {
    let world = World::new().await;
    for round in 0..10 {
        let mut run =
            world.import_until_approval(&format!("{round}.csv"), format!("code\nOLD{round}\n")).await;
        let better = world.correct(&format!("{round}.csv"), format!("code\nNEW{round}\n"));
        let approving = {
            let (run, actor) = (run.with_own_connections(&world), world.actor.clone());
            tokio::spawn(async move { run.decide_approval(&actor, 1, false).await })
        };
        let mended = run.mend(&world.actor, 1, Some(&better)).await;
        match approving.await.unwrap() {
            Decision::Taken { .. } => {
                assert_eq!(mended, Decision::WrongState(Status::Processing).into());
                run.until(State::Done).await.expect(State::Done);
            }
            Decision::WrongState(Status::Loading) => {
                assert!(is_taken(&mended));
                let mut second = Run::of_job(&world.app, run.job, 2);
                second.finish(&world.actor).await.expect(State::Done);
            }
            other => panic!("{other:?}"),
        }
        let codes = world
            .db
            .column(&format!("SELECT code FROM onceload.codes WHERE import_job_id = '{}'", run.job))
            .await;
        let expected = if is_taken(&mended) { format!("NEW{round}") } else { format!("OLD{round}") };
        assert_eq!(codes, [expected]);
    }
}
