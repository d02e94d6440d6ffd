//! A chunk is marked in the function or in the database; nobody can tell which from the marks.

use onceload_tests::{Run, State, World};
use shared::db::staging::mark::Marked;
use shared::db::{Limits, chunks, jobs, staging};
use std::fmt::Write;
use std::time::Duration;

/// 3,000 rows of 1,500 codes in five chunks: of few characters, some beyond ASCII, some alike in their first 14 bytes.
fn codes() -> String {
    let mut text = String::from("code\n");
    for row in 0..3_000_u32 {
        let n = row * 7_919 % 1_500;
        let _ = match n % 4 {
            0 => writeln!(text, "SUMMER-2026-X-{n:04}"),
            1 => writeln!(text, "Ä{n}"),
            2 => writeln!(text, "{n:b}"),
            _ => writeln!(text, "{n}-{}", "long-".repeat(48)),
        };
    }
    text
}

async fn read_marks(world: &World, run: &Run) -> Vec<Vec<String>> {
    let mut marks = Vec::new();
    for chunk in &run.chunks {
        let side = staging::tables::side_table(run.job, *chunk);
        let sql = format!("SELECT concat_ws(' ', row_number, place, flags) FROM {side} ORDER BY row_number");
        marks.push(world.db.column(&sql).await);
    }
    marks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_and_the_database_mark_the_same_rows() {
    let world = World::new().await;
    world.add_codes(&["SUMMER-2026-X-0000", "SUMMER-2026-X-0004", "Ä1", "10", "1", "~"]).await;
    let mut run = world.import_file("a.csv", codes());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["100", "1111", "SUMMER-2026-X-0800", "Ä"]).await;
    run.until(State::Validate).await.expect(State::Validate);
    let marks = read_marks(&world, &run).await;
    assert_eq!(marks.iter().map(Vec::len).sum::<usize>(), 1_500 + 4);

    let mut connection = world.app.db.connection().await.unwrap();
    let job = jobs::get(&connection, run.job).await.unwrap();
    let states = chunks::list(&connection, &job).await.unwrap();
    let tx = connection.begin("test", Limits::bulk(Duration::from_secs(60))).await.unwrap();
    for state in states {
        assert!(state.production.is_some(), "the function has marked it");
        let marked = staging::mark::mark(&tx, run.job, world.merchant, &state.chunk).await.unwrap();
        let expected = Marked { production: None, ..state.marked() };
        assert_eq!(marked, expected, "chunk {}", state.chunk.number);
    }
    tx.commit().await.unwrap();
    drop(connection);
    assert_eq!(read_marks(&world, &run).await, marks);
}

/// Production has far more codes than the import: the database looks each one up.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_import_is_marked_in_the_database_where_production_is_large() {
    let world = World::new().await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes (merchant_id, code)
             SELECT '{}', to_char(n, 'FM00000') FROM generate_series(0, 19999) n;
             ANALYZE",
            world.merchant
        ))
        .await;
    let mut run = world.import_file("a.csv", "code\n00001\nA\nA\n19999\nB\n");
    run.until(State::Validate).await.expect(State::Validate);
    let read = world.db.int("SELECT count(production) FROM onceload.import_chunks").await;
    assert_eq!(read, 0, "no chunk was marked in the function");
    world.add_codes(&["C"]).await;
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    let counts =
        ["internal_duplicates", "database_duplicates", "codes_inserted"].map(|name| job[name].as_i64());
    assert_eq!(counts, [Some(1), Some(2), Some(2)]);
}
