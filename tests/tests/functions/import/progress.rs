//! What an import says of itself is so: no pace before there is one, no obstacle that stands in nobody's way.

use import_jobs::decide::Decision;
use onceload_tests::{Run, World};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_blocked_only_while_its_approval_is() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nA\nA\nB\nA\n").await;
    assert_eq!(world.show(run.job).await["blocked"], json!(true));
    assert!(matches!(run.decide_approval(&world.actor, 2, true).await, Decision::Taken { .. }));
    assert_eq!(world.show(run.job).await["blocked"], json!(false));
}

/// An insert of a million codes that has been at work for ten seconds.
async fn inserted_so_far(world: &World, run: &Run, rows: i64) -> (Value, Value) {
    let job = run.job;
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET (total_codes_to_insert, approved_clean) = (1000000, 1000000) WHERE id = '{job}'"
        ))
        .await;
    let progress = format!(
        "INSERT INTO onceload.import_progress (job_id, step, part, attempt, rows_done, started_at, updated_at)
         VALUES ('{job}', 'insert', 0, 1, {rows}, now() - interval '10 seconds', now())
         ON CONFLICT (job_id, step, part) DO UPDATE SET rows_done = {rows}"
    );
    world.db.exec(&progress).await;
    let shown = world.show(job).await;
    (shown["rate"].clone(), shown["eta_seconds"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_pace_before_a_hundredth_is_done() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    run.approve(&world.actor).await;
    assert_eq!(
        inserted_so_far(&world, &run, 30).await,
        (Value::Null, Value::Null),
        "not 3 rows/s and 93 hours"
    );
    assert_eq!(inserted_so_far(&world, &run, 10_000).await, (json!(1000.0), json!(990.0)));
}
