//! Imports that the application's scripts made come along with its table: they are shown, verified and rolled back like any other.

use super::adoption::{KEEP, adopt_on, reasons, request};
use import_jobs::maintain::{Asked, preview};
use migrate::{Answer, Reason, Request};
use onceload_tests::execution::budget;
use onceload_tests::{Maintenance, TestDb, World};
use serde_json::{Value, json};
use shared::db::codes::Preview;
use shared::db::jobs;
use shared::domain::ids::JobId;
use shared::domain::task::ExportKind;
use std::time::Duration;
use uuid::{Builder, Uuid};

/// A table of codes whose rows say which import of a script inserted them.
const CODES: &str =
    "CREATE TABLE public.codes (id bigserial PRIMARY KEY, merchant_id uuid, code text NOT NULL,
    claimed boolean NOT NULL DEFAULT false, job uuid);";
/// The imports of those scripts.
const JOBS: &str = "CREATE TABLE public.codes_import_jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), merchant_id uuid NOT NULL,
    status text NOT NULL, total_codes_to_insert integer, codes_inserted integer, created_at timestamptz DEFAULT now(), created_by uuid,
    completed_at timestamptz, rolled_back_at timestamptz, error_message text, source_info jsonb);";

/// An id of version 4, which is not in the order of time.
fn random_id() -> Uuid {
    Builder::from_random_bytes(Uuid::now_v7().into_bytes()).into_uuid()
}

/// An application with imports of its own, and the ids of the one that is completed and of the one that was rolled back.
async fn with_history() -> (World, JobId, JobId) {
    let world = World::with_baseline().await;
    let (merchant, user) = (world.merchant, world.actor.user);
    let [done, undone] = [(); 2].map(|()| JobId(random_id()));
    world
        .db
        .exec(&format!(
            "{CODES} {JOBS}
             INSERT INTO public.codes_import_jobs VALUES
                 ('{done}', '{merchant}', 'COMPLETED', 4, 3, '2024-05-01', '{user}', '2024-05-02', NULL, NULL, '{{\"script\": \"a.sql\"}}'),
                 ('{undone}', '{merchant}', 'rolled_back', NULL, 5, '2024-06-01', gen_random_uuid(), NULL, '2024-06-03', 'wrong file', NULL);
             INSERT INTO public.codes_import_jobs (merchant_id, status, codes_inserted) VALUES
                 ('{merchant}', 'failed', 0), ('{merchant}', 'failed', NULL), ('{merchant}', 'running', NULL), ('{merchant}', 'completed', NULL);
             INSERT INTO public.codes (merchant_id, code, claimed, job) VALUES
                 ('{merchant}', 'A', false, '{done}'), ('{merchant}', 'B', true, '{done}'), ('{merchant}', 'C', false, '{done}'),
                 ('{merchant}', 'D', true, '{undone}'), ('{merchant}', 'E', false, NULL);"
        ))
        .await;
    (world, done, undone)
}

fn with_job(apply: bool) -> Request {
    request(&[("import_job_id", "job")], apply)
}

fn history(findings: &[migrate::Finding]) -> Vec<&str> {
    findings.iter().filter(|it| it.reason == Reason::History).map(|it| it.detail.as_str()).collect()
}

async fn count_jobs(db: &TestDb) -> i64 {
    db.int("SELECT count(*) FROM onceload.codes_import_jobs").await
}

async fn verify(world: &World, job: JobId) -> Value {
    world.run_task(job, Maintenance::Verify).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_the_scripts_is_shown_verified_and_rolled_back() {
    let (world, done, undone) = with_history().await;
    let looked = adopt_on(&world.db, &with_job(false)).await;
    assert!(looked.problems.is_empty() && count_jobs(&world.db).await == 0, "{looked:?}");
    assert!(looked.sql.last().unwrap().contains("INSERT INTO onceload.codes_import_jobs"), "{looked:?}");
    let answer = adopt_on(&world.db, &with_job(true)).await;
    assert!(answer.applied && answer.sql == looked.sql, "{answer:?}");
    assert_eq!(
        history(&answer.warnings),
        ["imports are left out: 2 failed, 1 running, 1 without id, merchant or number of codes"]
    );

    let shown = world.show(done).await;
    assert_eq!((&shown["status"], &shown["phase"]), (&json!("completed"), &json!("completed")), "{shown}");
    assert_eq!(shown["created_by"], json!(world.actor.user));
    assert_eq!(shown["source"], json!({ "door": "adoption", "input": { "script": "a.sql" } }));
    let counts = &shown["counts"];
    assert_eq!(
        (&counts["clean"], &counts["inserted"], &counts["records"]),
        (&json!(4), &json!(3), &json!(null))
    );
    let shown = world.show(undone).await;
    assert_eq!((&shown["status"], &shown["created_by"]), (&json!("rolled_back"), &json!(null)), "{shown}");
    assert_eq!((&shown["counts"]["deleted"], &shown["counts"]["kept"]), (&json!(4), &json!(1)));
    assert_eq!(shown["error_message"], json!("wrong file"));

    let found = verify(&world, done).await;
    assert_eq!((&found["verified"], &found["compared"]), (&json!(true), &json!("count")), "{found}");
    let counted = preview::count(&world.app, done, world.merchant, Duration::from_secs(20)).await.unwrap();
    assert_eq!(counted, Some(Preview { codes: 3, claimed: 1, referenced: 0, both: 0 }));
    let exported = world.request_maintenance(done, Maintenance::Export(ExportKind::Report)).await;
    assert_eq!(exported, Asked::StagingCleared, "nothing of it was ever staged here");
    world.db.exec("DELETE FROM public.codes WHERE code = 'C'").await;
    let found = verify(&world, done).await;
    assert_eq!(found["problems"], json!(["2 codes in production, 3 were inserted"]), "{found}");

    let rolled_back = world.run_task(done, KEEP).await;
    assert_eq!((&rolled_back["codes_deleted"], &rolled_back["codes_kept"]), (&json!(1), &json!(1)));
    assert_eq!(world.read_status(done).await, "rolled_back");
    assert_eq!(world.db.column("SELECT code FROM public.codes ORDER BY code").await, ["B", "D", "E"]);
    // What was taken stays as it is now.
    let again = adopt_on(&world.db, &with_job(true)).await;
    assert!(again.applied && again.sql.is_empty(), "{again:?}");
    assert_eq!(world.read_status(done).await, "rolled_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_taken_is_not_verified_or_swept_by_itself() {
    let (world, done, _) = with_history().await;
    world.db.exec("UPDATE public.codes_import_jobs SET completed_at = now()").await;
    assert!(adopt_on(&world.db, &with_job(true)).await.applied);
    // There is no Step Functions, which it says at its end.
    let _ = sweep_imports::handle(world.app.clone(), json!({}), budget()).await;
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.import_tasks").await, 0);
    let job = world.read_job(done).await;
    assert_eq!((&job["verification"], &job["looked_at"]), (&json!(null), &json!(null)), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_was_killed_is_repeated_and_takes_what_came_since() {
    let (world, done, _) = with_history().await;
    let looked = adopt_on(&world.db, &with_job(false)).await;
    for sql in &looked.sql {
        world.db.exec(&sql.replace("COMMIT;", "ROLLBACK;")).await;
    }
    assert_eq!(count_jobs(&world.db).await, 0);
    let again = adopt_on(&world.db, &with_job(false)).await;
    assert_eq!(again.sql, looked.sql.last().map(|sql| vec![sql.clone()]).unwrap());
    // A person may run it, and run it again.
    world.db.exec(&again.sql[0]).await;
    assert_eq!(count_jobs(&world.db).await, 2);
    world.db.exec("UPDATE public.codes_import_jobs SET status = 'completed', codes_inserted = 0 WHERE status = 'running'").await;
    let later = adopt_on(&world.db, &with_job(true)).await;
    assert!(later.applied && later.sql.len() == 1 && !later.sql[0].contains("CREATE VIEW"), "{later:?}");
    assert_eq!((count_jobs(&world.db).await, world.read_status(done).await.as_str()), (3, "completed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_with_the_three_columns_is_history_enough_and_its_merchants_are_made() {
    let world = World::with_baseline().await;
    let (old, job) = (random_id(), random_id());
    world
        .db
        .exec(&format!(
            "{CODES} CREATE SCHEMA shop; CREATE TABLE shop.loads (id uuid, owner uuid, rows numeric(12));
             INSERT INTO shop.loads VALUES ('{job}', '{old}', 1);
             INSERT INTO public.codes (merchant_id, code, job) VALUES ('{old}', 'A', '{job}');
             CREATE VIEW shop.\"Old imports\" AS SELECT id, owner AS merchant_id, rows AS codes_inserted FROM shop.loads"
        ))
        .await;
    let request = Request { history: Some("shop.\"Old imports\"".into()), ..with_job(true) };
    let answer = adopt_on(&world.db, &request).await;
    assert!(answer.applied, "{answer:?}");
    let warnings = history(&answer.warnings);
    assert!(warnings.len() == 1 && warnings[0].contains(&old.to_string()), "{answer:?}");
    let merchants = format!("SELECT name FROM onceload.merchants WHERE id = '{old}'");
    assert_eq!(world.db.value(&merchants).await, old.to_string());
    assert_eq!(world.read_status(JobId(job)).await, "completed");
    let again = adopt_on(&world.db, &request).await;
    assert!(again.applied && history(&again.warnings).is_empty(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_no_use_is_refused_if_it_was_asked_for_and_left_if_it_was_found() {
    let with_one = "CREATE TABLE public.codes_import_jobs (id uuid, merchant_id uuid, codes_inserted bigint);
                    INSERT INTO public.codes_import_jobs VALUES (gen_random_uuid(), gen_random_uuid(), 1)";
    let cases: [(&str, &str, Option<&str>, Reason, &str); 6] = [
        (CODES, "SELECT 1", Some("public.nothing"), Reason::NotFound, "no table public.nothing"),
        (CODES, "SELECT 1", Some("onceload.codes_import_jobs"), Reason::NotFound, "where the imports go"),
        (
            CODES,
            "CREATE TABLE public.codes_import_jobs (id uuid, merchant_id uuid)",
            None,
            Reason::NotFound,
            "lacks codes_inserted (int2",
        ),
        (
            CODES,
            "CREATE TABLE public.codes_import_jobs (id bigint, merchant_id uuid, codes_inserted bigint)",
            None,
            Reason::NotFound,
            "lacks id (uuid)",
        ),
        (
            "CREATE TABLE public.codes (merchant_id uuid, code text, claimed boolean)",
            with_one,
            None,
            Reason::History,
            "public.codes has no column with the import's uuid",
        ),
        (
            CODES,
            with_one,
            None,
            Reason::History,
            "no code of public.codes has the id of one of its 1 imports",
        ),
    ];
    for (codes, tables, name, reason, words) in cases {
        let db = TestDb::with_baseline().await;
        db.exec(&format!("{codes}; {tables}")).await;
        let columns: &[(&str, &str)] = if codes == CODES { &[("import_job_id", "job")] } else { &[] };
        let asked_for = name.unwrap_or("public.codes_import_jobs");
        let asked = Request { history: Some(asked_for.into()), ..request(columns, true) };
        let answer = adopt_on(&db, &asked).await;
        assert_eq!(reasons(&answer.problems), [reason], "{tables}: {answer:?}");
        assert!(answer.problems[0].detail.contains(words), "{tables}: {answer:?}");
        assert!(!answer.applied && !answer.problems[0].advice.is_empty());
        if name.is_none() {
            let apply = async || -> Answer { adopt_on(&db, &request(columns, true)).await };
            let answer = apply().await;
            assert!(answer.applied, "{answer:?}");
            assert!(history(&answer.warnings).iter().any(|detail| detail.contains(words)), "{answer:?}");
            // The column that the adoption has added has no import of theirs.
            assert_eq!(apply().await.sql, [""; 0]);
        }
        assert_eq!(count_jobs(&db).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_may_not_be_read_says_who_may_let_us() {
    let world = World::with_baseline().await;
    world.db.exec(CODES).await;
    let admin = world.db.connect_as_admin().await;
    admin.batch_execute(JOBS).await.unwrap();
    let asked = Request { history: Some("public.codes_import_jobs".into()), ..with_job(true) };
    let answer = adopt_on(&world.db, &asked).await;
    assert_eq!(reasons(&answer.problems), [Reason::NotOwner], "{answer:?}");
    let grant = "GRANT SELECT ON public.codes_import_jobs TO onceload";
    assert!(answer.problems[0].advice.contains(grant), "{answer:?}");
    admin.batch_execute(grant).await.unwrap();
    let answer = adopt_on(&world.db, &asked).await;
    assert!(answer.applied && answer.problems.is_empty(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_written_by_hand_has_no_door_and_is_read_all_the_same() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let of_run = format!("WHERE id = '{}'", run.job);
    world.db.exec(&format!("UPDATE onceload.codes_import_jobs SET source_info = '{{}}' {of_run}")).await;
    let connection = world.app.db.connection().await.unwrap();
    let job = jobs::get(&connection, run.job).await.unwrap();
    assert!(job.inserted.is_some_and(|it| it.codes == 1) && !job.is_adopted(), "{job:?}");
    let by_hand = JobId(random_id());
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes_import_jobs (id, merchant_id, source_info) VALUES ('{by_hand}', '{}', '{{}}')",
            world.merchant
        ))
        .await;
    assert_eq!(jobs::get(&connection, by_hand).await.unwrap().inserted, None);
}
