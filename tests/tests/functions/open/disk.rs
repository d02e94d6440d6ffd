//! What an import needs of the database's disk is told before anything is loaded.

use super::repeated::find_job;
use import_jobs::decide::Decision;
use onceload_tests::files::gzip;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use std::fmt::Write;

/// Bytes that the message says of this: `... 1.5 MiB for staging ...`.
fn said(message: &str, of: &str) -> f64 {
    let before = message.split(of).next().unwrap();
    let mut words = before.trim_end().rsplit(' ');
    assert_eq!(words.next(), Some("MiB"), "{message}");
    words.next().unwrap().trim_start_matches('(').parse::<f64>().unwrap() * 1_048_576.0
}

/// Codes that look random, and so compress badly.
fn code(n: u64) -> String {
    format!("{:012X}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_does_not_fit_fails_before_anything_is_staged() {
    let world = World::with_baseline().await;
    let mut plain = "code,serial,points,sku_name\n".to_owned();
    let mut short = "code\n".to_owned();
    for n in 0..20_000 {
        writeln!(plain, "{},S{n:09},10,Some name of it {n}", code(n)).unwrap();
        writeln!(short, "{}", code(n + 20_000)).unwrap();
    }
    let keys = [world.upload("a.csv", plain), world.upload("b", gzip(short.as_bytes()))];
    let mut run = world.import_objects(&[&keys[0], &keys[1]]);
    run.app.config.database_storage = Some(1);
    let error = run.until(State::LoadFiles).await.error();
    assert_eq!(error.kind, StepErrorKind::InvalidInput, "{error}");
    let message = error.message;
    assert!(message.contains("0.0 MiB of 0.0 MiB are free. Enlarge the disk"), "{message}");
    run.job = find_job(&world, &run).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["error_message"]), (&json!("failed"), &json!(message)));
    assert_eq!(job["validation_errors"], json!([{ "reason": "InvalidInput", "detail": message }]));
    assert_eq!((&job["staging_created_at"], &job["leased"]), (&json!(null), &json!(false)));

    // There is room by now.
    let Decision::Taken { .. } = run.retry(&world.actor).await else { panic!("the retry is refused") };
    let mut run = Run::of_job(&world.app, run.job, 2);
    let used = world.db.int("SELECT pg_database_size(current_database())").await.cast_unsigned();
    let needed = said(&message, "of the database's disk") as u64;
    run.app.config.database_storage = Some(used + needed + needed / 10);
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    let staged = world
        .db
        .int(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE nspname = 'onceload_staging' AND relkind = 'r'",
        )
        .await;
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 40_000);
    let codes = world.db.int("SELECT pg_total_relation_size('onceload.codes')").await;
    // Half of staging is the copy in order of code.
    for (what, told, taken) in [
        ("staging", said(&message, "for staging") / 2.0, staged),
        ("codes", said(&message, "for the codes"), codes),
    ] {
        let ratio = told / taken as f64;
        assert!((0.75..1.25).contains(&ratio), "{what}: {told:.0} bytes were told, {taken} are taken");
    }
}
