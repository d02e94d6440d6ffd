//! The clean rows of the next chunk are found and sorted while one is inserted.

use onceload_tests::{Bench, Run, State};
use shared::domain::step::StepErrorKind;

/// Four chunks, the third without a clean code, and approved.
async fn approved(bench: &Bench) -> Run {
    bench.add_codes(&["m1", "m2"]).await;
    let codes = ["a3", "a1", "a2", "g2", "g1", "m2", "m1", "t1", "t3", "t2", "t1"];
    let mut run = bench.file("a.csv", format!("code\n{}\n", codes.join("\n")));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&bench.db, &["g", "m", "t"]).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!((run.chunks.len(), run.clean), (4, 8));
    run.approve(&bench.actor).await;
    run
}

/// Runs this for every table that is made from a query, `name` and `persistence` of which it can use.
async fn on_sorted(bench: &Bench, statements: &str) {
    bench.db.exec("CREATE TABLE sorted (name text, persistence text, codes text)").await;
    let admin = bench.db.admin().await;
    let sql = format!(
        "CREATE FUNCTION on_sorted() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         DECLARE name text; persistence text; BEGIN
             SELECT c.relname, c.relpersistence INTO name, persistence
               FROM pg_event_trigger_ddl_commands() d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r';
             {statements}
         END $$;
         CREATE EVENT TRIGGER on_sorted ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS')
             EXECUTE FUNCTION on_sorted()"
    );
    admin.batch_execute(&sql).await.expect("an event trigger");
}

const RECORD: &str = "EXECUTE format('INSERT INTO public.sorted SELECT %L, %L, string_agg(code, '' '') FROM onceload_staging.%I',
                                     name, persistence, name);";
const LEFT: &str =
    "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging' AND tablename LIKE 's\\_%'";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sorted_ahead_is_inserted_and_leaves_nothing() {
    let bench = Bench::new().await;
    let mut run = approved(&bench).await;
    on_sorted(&bench, RECORD).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 10);
    let sorted = bench.db.column("SELECT persistence || ' ' || codes FROM sorted ORDER BY name").await;
    assert_eq!(sorted, ["u g1 g2", "u t1 t2 t3"], "all but the first, and none without a clean code");
    assert_eq!(bench.db.int(LEFT).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_sorted_ahead_is_inserted_all_the_same() {
    let bench = Bench::new().await;
    let mut run = approved(&bench).await;
    on_sorted(&bench, "RAISE 'no space left' USING ERRCODE = 'disk_full';").await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 10);
    assert_eq!(bench.job(run.job).await["verification"]["verified"], true);
}

/// Sorted before the code appeared: the insert meets it, and goes around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_code_among_the_sorted_is_met_by_the_insert() {
    let bench = Bench::new().await;
    let run = approved(&bench).await;
    let appears =
        format!("INSERT INTO public.codes (merchant_id, code) VALUES ('{}', 't2');", bench.merchant);
    on_sorted(&bench, &format!("IF name LIKE '%\\_03' THEN {appears} END IF;")).await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "one of eight is more than 1 %: {error}");
    assert_eq!(bench.codes().await, 3, "nothing of the import");
    assert_eq!(bench.db.int(LEFT).await, 0, "nor of its sorting");
}

/// Rows that are not those that were marked are never inserted, wherever they lie.
#[tokio::test(flavor = "multi_thread")]
async fn sorted_rows_are_counted() {
    let bench = Bench::new().await;
    let run = approved(&bench).await;
    on_sorted(&bench, "EXECUTE format('DELETE FROM onceload_staging.%I WHERE code = ''t3''', name);").await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    assert_eq!(bench.codes().await, 2);
}

/// A run that was killed leaves its tables; the next one drops them before it makes its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_goes_with_the_next() {
    let bench = Bench::new().await;
    let mut run = approved(&bench).await;
    let left = format!("onceload_staging.s_{}_0000beef_01", run.job.0.simple());
    bench.db.exec(&format!("CREATE UNLOGGED TABLE {left} AS SELECT 'x' AS code")).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!((bench.codes().await, bench.db.int(LEFT).await), (10, 0));
}

/// Once the job is not ours any more, nothing is added to its workspace, which may be about to be dropped.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sorted_for_an_attempt_that_is_over() {
    let bench = Bench::new().await;
    let run = approved(&bench).await;
    on_sorted(
        &bench,
        "UPDATE public.codes_import_jobs SET attempt = attempt + 1; INSERT INTO public.sorted (name) VALUES (name);",
    )
    .await;
    let inserted = run.insert().await;
    let made = bench.db.column("SELECT name FROM sorted").await;
    assert!(made.is_empty(), "rolled back together with the attempt: {made:?}");
    assert!(inserted.is_ok(), "and the insert, whose attempt it still is, goes on: {inserted:?}");
    assert_eq!((bench.codes().await, bench.db.int(LEFT).await), (10, 0));
}
