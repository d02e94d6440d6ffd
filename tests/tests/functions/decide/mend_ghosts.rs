//! A mend beside loaders that are still at work: of an older attempt, twice, or killed half-way. Staging never has rows of
//! two versions of a file.

use onceload_tests::files::{noise, numbered};
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::db::files;
use shared::domain::ids::JobId;
use shared::domain::layout::Layout;
use shared::domain::step::StepErrorKind;
use std::time::Duration;

async fn count_staged(world: &World, job: JobId, start: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM onceload.codes_check_temp('{job}') WHERE code LIKE '{start}%'");
    world.db.int(&sql).await
}

/// Mends as a person does who tries again after a 503.
async fn mend_patiently(world: &World, run: &Run, file_no: i32, by: Option<&str>) {
    for _ in 0..20 {
        match run.try_mend(&world.actor, file_no, by).await {
            Ok(mended) => return assert!(format!("{mended:?}").contains("Taken"), "{mended:?}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("the old loader doesn't let go of the file");
}

/// Whoever returns the lease holds the line, and then waits for the jobs in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mend_waits_for_the_line_before_it_locks_its_job() {
    let world = World::new().await;
    let keys = [world.upload("a.csv", "code\nA\n"), world.upload("b.csv", "code\nB\n")];
    let mut run = world.import_objects(&[&keys[0], &keys[1]]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let admin = world.db.connect_as_admin().await;
    admin.batch_execute(&format!("BEGIN; SELECT onceload.lock_line('{}')", world.merchant)).await.unwrap();
    let mending = {
        let (run, actor) = (run.with_own_connections(&world), world.actor.clone());
        tokio::spawn(async move { run.mend(&actor, 1, None).await })
    };
    world.db.wait_for_blocked("merchants.lock_line_of_job").await;
    let free =
        format!("SELECT FROM onceload.codes_import_jobs WHERE id = '{}' FOR UPDATE NOWAIT; COMMIT", run.job);
    admin.batch_execute(&free).await.expect("the job is not locked");
    assert!(format!("{:?}", mending.await.unwrap()).contains("Taken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_of_an_earlier_attempt_describes_no_file() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let connection = world.app.db.connection().await.unwrap();
    let layout = files::find(&connection, run.job, 1).await.unwrap().unwrap().layout.unwrap();
    let old = Layout { delimiter: b';', ..layout.clone() };
    assert!(!files::set_layouts(&connection, run.job, 0, &[(1, old)]).await.unwrap());
    assert_eq!(files::find(&connection, run.job, 1).await.unwrap().unwrap().layout.as_ref(), Some(&layout));
    assert!(files::set_layouts(&connection, run.job, 1, &[(1, layout)]).await.unwrap());
}

/// An old attempt's loader is held in the middle of a file that is replaced, or left out, meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_loader_of_an_older_attempt_adds_nothing() {
    for leave_out in [false, true] {
        let world = World::new().await;
        let a = world.upload("a.csv", "code\nA1\n");
        // Longer than what the loader reads ahead.
        let text = noise(200_000).replace("code\n", "code\nOLD\n");
        let b = world.upload("b.csv", text.clone());
        let mut run = world.import_objects(&[&a, &b]);
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        let gate = world.s3.gate(&b, text.len() as u64 / 2);
        let ghost = {
            let run = run.with_own_connections(&world);
            tokio::spawn(async move { run.load(2).await })
        };
        world.db.until("the ghost's rows", "SELECT count(*) > 0 FROM onceload.import_progress WHERE step = 'load' AND part = 2 AND bytes_done > 0").await;
        run.load(1).await.unwrap();
        // The execution is over: the ghost's function was given up.
        run.close_caught("Lambda.Unknown", "").await.unwrap();
        assert_eq!(world.read_status(run.job).await, "failed");

        let better = world.correct("b.csv", numbered("NEW", 0..10));
        let by = (!leave_out).then_some(better.as_str());
        mend_patiently(&world, &run, 2, by).await;
        let mut second = Run::of_job(&world.app, run.job, 2);
        second.until(State::InsertCodes).await.expect(State::InsertCodes);
        gate.send(true).unwrap();
        let refused = ghost.await.unwrap().unwrap_err();
        assert!(matches!(refused.kind, StepErrorKind::Superseded | StepErrorKind::Transient), "{refused}");
        let expected = if leave_out { 0 } else { 10 };
        assert_eq!(count_staged(&world, run.job, "NEW").await, expected);
        assert_eq!(world.count_staged(run.job).await, expected + 1, "leave_out: {leave_out}");
        second.finish(&world.actor).await.expect(State::Done);
        assert_eq!(world.count_codes().await, expected + 1);
    }
}

/// The file was found, but not yet taken, by a loader of the attempt before.
#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_waited_for_the_file_is_refused_by_its_attempt() {
    for leave_out in [false, true] {
        let world = World::new().await;
        let a = world.upload("a.csv", "code\nA1\n");
        let b = world.upload("b.csv", "code\nOLD\n");
        let mut run = world.import_objects(&[&a, &b]);
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        run.load(1).await.unwrap();
        // A lock on the file's row stops the ghost before its marker.
        let mut holder = world.db.connect().await;
        let lock = holder.transaction().await.unwrap();
        lock.batch_execute("SELECT FROM onceload.import_files WHERE file_no = 2 FOR UPDATE").await.unwrap();
        let ghost = {
            let run = run.with_own_connections(&world);
            tokio::spawn(async move { run.load(2).await })
        };
        world.db.wait_for_blocked("files.take").await;
        run.close_caught("Lambda.Unknown", "").await.unwrap();
        let better = world.correct("b.csv", "code\nNEW\n");
        let mending = {
            let (run, actor) = (run.with_own_connections(&world), world.actor.clone());
            let by = (!leave_out).then_some(better);
            tokio::spawn(async move { run.try_mend(&actor, 2, by.as_deref()).await })
        };
        let statement = if leave_out { "files.leave_out" } else { "files.replace" };
        world.db.wait_for_blocked(statement).await;
        lock.rollback().await.unwrap();
        // Whichever gets the row first: one waits for the other, or is refused.
        let refused = ghost.await.unwrap().unwrap_err();
        assert!(matches!(refused.kind, StepErrorKind::Superseded | StepErrorKind::Transient), "{refused}");
        if mending.await.unwrap().is_err() {
            mend_patiently(
                &world,
                &run,
                2,
                Some(&world.correct("b.csv", "code\nNEW\n")).filter(|_| !leave_out).map(String::as_str),
            )
            .await;
        }
        let mut second = Run::of_job(&world.app, run.job, 2);
        second.finish(&world.actor).await.expect(State::Done);
        let codes = world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await;
        assert_eq!(codes, if leave_out { vec!["A1"] } else { vec!["A1", "NEW"] });
    }
}

/// The new attempt's loader is killed after it has deleted the old rows, runs again, and runs twice at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacing_load_that_is_killed_or_repeated_replaces_once() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code,points\nA1,1\nA2,x\n");
    let b = world.upload("b.csv", format!("code,points\n{}OLD,x\n", "OLD,1\n".repeat(50)));
    let mut run = world.import_objects(&[&a, &b]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let text = noise(200_000).replace("code\n", "code\nNEW\n");
    let better = world.correct("b.csv", text.clone());
    run.mend(&world.actor, 2, Some(&better)).await;
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);

    let gate = world.s3.gate(&better, text.len() as u64 / 2);
    let killed = {
        let run = second.with_own_connections(&world);
        tokio::spawn(async move { run.load(2).await })
    };
    world.db.until("the loader's rows", "SELECT count(*) > 0 FROM onceload.import_progress WHERE step = 'load' AND part = 2 AND attempt = 2 AND bytes_done > 0").await;
    assert_eq!(count_staged(&world, run.job, "OLD").await, 50, "until the new rows are there");
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    world.db.wait_for_end("load.file").await;
    assert_eq!(count_staged(&world, run.job, "OLD").await, 50, "rolled back");
    let rejects = "SELECT string_agg(concat_ws(' ', file_no, record_number), ', ' ORDER BY file_no) FROM onceload.import_rejects";
    assert_eq!(world.db.value(rejects).await, "1 2, 2 51");

    gate.send(true).unwrap();
    let twice = [0, 1].map(|_| {
        let run = second.with_own_connections(&world);
        tokio::spawn(async move { run.load(2).await })
    });
    for load in twice {
        match load.await.unwrap() {
            Ok(output) => assert_eq!(output.counts.staged, 200_001),
            Err(error) => {
                assert_eq!(error.kind, StepErrorKind::Transient, "it waited for the first: {error}")
            }
        }
    }
    assert_eq!(second.load(2).await.unwrap().counts.staged, 200_001, "once more");
    assert_eq!(world.count_staged(run.job).await, 200_002);
    assert_eq!(world.db.value(rejects).await, "1 2");
    second.at = State::PlanChunks;
    second.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.read_job(run.job).await["staged"], json!(200_002));
}

/// A load of a file that replaces another fails: the rows of before leave with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_fails_is_replaced_itself() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\n");
    let b = world.upload("b.csv", "code,points\nOLD,1\nX,x\n");
    let mut run = world.import_objects(&[&a, &b]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.mend(&world.actor, 2, Some(&world.correct("1.csv", "code,sku\nWORSE,\"\n"))).await;
    let mut second = Run::of_job(&world.app, run.job, 2);
    let error = second.until(State::InsertCodes).await.error();
    assert!(error.message.starts_with("1 of 2 files rejected"), "{error}");
    assert_eq!(count_staged(&world, run.job, "OLD").await, 1);
    let view = world.show(run.job).await;
    assert_eq!((&view["counts"]["records"], &view["counts"]["clean"]), (&json!(1), &json!(null)), "of a.csv");
    run.mend(&world.actor, 2, Some(&world.correct("2.csv", "code\nNEW\n"))).await;
    let mut third = Run::of_job(&world.app, run.job, 3);
    third.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["A1", "NEW"]);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["rejected"], &job["verification"]["verified"]), (&json!(0), &json!(true)));
    // Nobody waits for anything that is over.
    tokio::time::timeout(Duration::from_secs(5), world.db.wait_for_end("load.file")).await.unwrap();
}
