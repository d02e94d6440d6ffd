//! The clean codes of the next chunk are sorted on a second connection while one is inserted.

use onceload_tests::{Run, State, World};
use shared::domain::step::StepErrorKind;

/// An approved import of four chunks with 8 clean codes. The third chunk has none; production has 2 codes.
async fn import_approved(world: &World) -> Run {
    world.add_codes(&["m1", "m2"]).await;
    let codes = ["a3", "a1", "a2", "g2", "g1", "m2", "m1", "t1", "t3", "t2", "t1"];
    let mut run = world.import_file("a.csv", format!("code\n{}\n", codes.join("\n")));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["g", "m", "t"]).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!((run.chunks.len(), run.clean), (4, 8));
    run.approve(&world.actor).await;
    run
}

/// Runs PL/pgSQL statements in the transaction of each sort, after its table was made. They can use the table's `name`
/// and `persistence`, and the table `public.sorted`.
async fn after_each_sort(world: &World, statements: &str) {
    world.db.exec("CREATE TABLE public.sorted (name text, persistence text, codes text)").await;
    let admin = world.db.connect_as_admin().await;
    let sql = format!(
        "CREATE FUNCTION public.after_sort() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         DECLARE name text; persistence text; BEGIN
             SELECT c.relname, c.relpersistence INTO name, persistence
               FROM pg_event_trigger_ddl_commands() d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r';
             {statements}
         END $$;
         CREATE EVENT TRIGGER after_sort ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS')
             EXECUTE FUNCTION public.after_sort()"
    );
    admin.batch_execute(&sql).await.expect("an event trigger");
}

async fn count_sorted_tables(world: &World) -> i64 {
    world
        .db
        .int(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging' AND tablename LIKE 's\\_%'",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_after_the_first_are_sorted_ahead_and_their_tables_dropped() {
    let world = World::new().await;
    let mut run = import_approved(&world).await;
    let record = "EXECUTE format('INSERT INTO public.sorted SELECT %L, %L, string_agg(code, '' '')
                                    FROM onceload_staging.%I', name, persistence, name);";
    after_each_sort(&world, record).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 10);
    let sorted = world.db.column("SELECT persistence || ' ' || codes FROM public.sorted ORDER BY name").await;
    assert_eq!(sorted, ["u g1 g2", "u t1 t2 t3"], "the first chunk, and one without a clean code, are not");
    assert_eq!(count_sorted_tables(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_can_not_be_sorted_ahead_is_inserted() {
    let world = World::new().await;
    let mut run = import_approved(&world).await;
    after_each_sort(&world, "RAISE 'no space left' USING ERRCODE = 'disk_full';").await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 10);
    assert_eq!(world.read_job(run.job).await["verification"]["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_appears_after_the_sort_is_a_late_duplicate() {
    let world = World::new().await;
    let run = import_approved(&world).await;
    let appear =
        format!("INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', 't2');", world.merchant);
    after_each_sort(&world, &format!("IF name LIKE '%\\_03' THEN {appear} END IF;")).await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "one of eight is more than 1 %: {error}");
    assert_eq!(world.count_codes().await, 3, "none of the import");
    assert_eq!(count_sorted_tables(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sorted_table_that_lost_a_row_stops_the_insert() {
    let world = World::new().await;
    let run = import_approved(&world).await;
    after_each_sort(&world, "EXECUTE format('DELETE FROM onceload_staging.%I WHERE code = ''t3''', name);")
        .await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    assert_eq!(world.count_codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_drops_the_tables_of_a_killed_one() {
    let world = World::new().await;
    let mut run = import_approved(&world).await;
    let left = format!("onceload_staging.s_{}_0000beef_01", run.job.0.simple());
    world.db.exec(&format!("CREATE UNLOGGED TABLE {left} AS SELECT 'x' AS code")).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!((world.count_codes().await, count_sorted_tables(&world).await), (10, 0));
}

/// A table that is committed after the workspace was dropped would never be dropped itself.
#[tokio::test(flavor = "multi_thread")]
async fn no_table_is_committed_for_an_attempt_that_is_over() {
    let world = World::new().await;
    let run = import_approved(&world).await;
    after_each_sort(
        &world,
        "UPDATE onceload.codes_import_jobs SET attempt = attempt + 1; INSERT INTO public.sorted (name) VALUES (name);",
    )
    .await;
    let inserted = run.insert().await;
    let made = world.db.column("SELECT name FROM public.sorted").await;
    assert!(made.is_empty(), "rolled back together with the new attempt: {made:?}");
    assert!(inserted.is_ok(), "the attempt is still current for the insert: {inserted:?}");
    assert_eq!((world.count_codes().await, count_sorted_tables(&world).await), (10, 0));
}
