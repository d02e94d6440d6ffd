//! The routes of maintenance: confirmation, state, membership and idempotency keys.

use import_jobs::maintain::preview::count;
use onceload_tests::files::numbered;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::http::{Response, receive, request};
use onceload_tests::{Maintenance, State, World};
use serde_json::{Value, json};
use shared::domain::task::{Action, ClaimedCodes, ExportKind};

/// A user who sends requests.
struct Operator<'a> {
    world: &'a World,
    subject: String,
}

impl<'a> Operator<'a> {
    async fn new(world: &'a World, user: shared::domain::ids::UserId) -> Self {
        let subject =
            world.db.value(&format!("SELECT subject FROM onceload.users WHERE id = '{user}'")).await;
        Self { world, subject }
    }

    async fn send(&self, method: &str, path: &str, body: &str, key: Option<&str>) -> Response {
        let mut request = request(method, path, Some(&self.subject), body);
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        receive(import_jobs::handle(self.world.app.clone(), request).await)
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.send("POST", path, &body.to_string(), None).await
    }
}

const FILE: &str = "code,points\nA,1\nA,2\nB,x\n";

async fn count_tasks(world: &World) -> i64 {
    world.db.int("SELECT count(*) FROM onceload.import_tasks").await
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_needs_confirmation_and_membership() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", FILE).await;
    world.abandon_tasks().await;
    let before = count_tasks(&world).await;
    let operator = Operator::new(&world, world.actor.user).await;
    let other = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    let stranger = Operator::new(&world, other.user).await;
    let nobody = shared::domain::ids::JobId::generate();
    for (method, what, good, bad) in [
        (
            "POST",
            "rollback",
            json!({ "confirm": "DELETE" }),
            vec![
                (json!({ "confirm": "delete" }), "/confirm"),
                (json!({ "confirm": "YES" }), "/confirm"),
                (json!({}), ""),
                (json!({ "confirm": "DELETE", "claimed": "burn" }), "/claimed"),
                (json!({ "confirm": "DELETE", "force": true }), "/force"),
            ],
        ),
        (
            "POST",
            "exports",
            json!({ "kind": "report" }),
            vec![(json!({ "kind": "everything" }), "/kind"), (json!({}), "")],
        ),
        ("POST", "verify", json!({}), vec![]),
        (
            "DELETE",
            "staging",
            json!({ "confirm": "CLEAR" }),
            vec![(json!({ "confirm": "clear" }), "/confirm"), (json!({}), "")],
        ),
        ("GET", "exports", json!(null), vec![]),
        ("GET", "rollback", json!(null), vec![]),
    ] {
        let path = format!("/imports/{}/{what}", run.job);
        let anonymous =
            receive(import_jobs::handle(world.app.clone(), request(method, &path, None, "{}")).await);
        assert_eq!(anonymous.status, 401, "{method} {path}");
        for body in [good.to_string(), "{".to_owned()] {
            let answer = stranger.send(method, &path, &body, None).await;
            assert_eq!(answer.status, 404, "{method} {path}: who may not see it learns nothing of the body");
            let answer = operator.send(method, &format!("/imports/{nobody}/{what}"), &body, None).await;
            assert_eq!(answer.status, 404, "{method} {path}: no such import");
        }
        for (body, pointer) in bad {
            let answer = operator.send(method, &path, &body.to_string(), None).await;
            assert_eq!(answer.status, 422, "{method} {path} {body}: {answer:?}");
            let response = answer.body["errors"][0]["pointer"].as_str().unwrap();
            assert!(response == pointer || pointer == "/force", "{body}: {response}");
            assert_eq!(operator.send(method, &path, "{", None).await.status, 400, "{method} {path}");
        }
    }
    assert_eq!(count_tasks(&world).await, before, "no task was started");
    assert_eq!(world.read_status(run.job).await, "completed");
    assert_eq!(world.count_codes().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rollback_route_starts_one_rollback() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", FILE).await;
    let operator = Operator::new(&world, world.actor.user).await;
    let path = format!("/imports/{}/rollback", run.job);
    let mut busy = world.import_file("b.csv", "code\nX\n");
    busy.until(State::PlanChunks).await.expect(State::PlanChunks);
    let answer = operator.post(&path, json!({ "confirm": "DELETE" })).await;
    assert_eq!((answer.status, &answer.body["active_job_id"]), (409, &json!(busy.job)), "{answer:?}");
    assert_eq!(answer.body["type"], "urn:onceload:problem:merchant-busy");
    let answer =
        operator.post(&format!("/imports/{}/rollback", busy.job), json!({ "confirm": "DELETE" })).await;
    assert_eq!((answer.status, &answer.body["job_status"]), (409, &json!("loading")), "{answer:?}");
    busy.until(State::InsertCodes).await.expect(State::InsertCodes);

    // With a key, the repeated request is replayed; without one, the job's state makes it a repetition.
    let body = json!({ "confirm": "DELETE", "claimed": "keep" }).to_string();
    let first = operator.send("POST", &path, &body, Some("k1")).await;
    assert_eq!((first.status, &first.body["phase"]), (202, &json!("rolling_back")), "{first:?}");
    let again = operator.send("POST", &path, &body, Some("k1")).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(operator.send("POST", &path, "{\"confirm\":\"DELETE\" }", Some("k1")).await.status, 422);
    assert_eq!(operator.post(&path, json!({ "confirm": "DELETE" })).await.status, 202);
    let other_way = operator.post(&path, json!({ "confirm": "DELETE", "claimed": "delete" })).await;
    assert_eq!(other_way.status, 409, "{other_way:?}");
    let sql = "SELECT count(*) FROM onceload.import_tasks WHERE action = 'rollback'";
    assert_eq!(world.db.int(sql).await, 1);
    assert_eq!(operator.post(&format!("/imports/{}/verify", run.job), json!({})).await.status, 409);

    let task = world.find_task(run.job, Action::Rollback).await;
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 1);
    let late = operator.post(&path, json!({ "confirm": "DELETE" })).await;
    assert_eq!((late.status, &late.body["job_status"]), (409, &json!("rolled_back")), "{late:?}");
    assert_eq!(
        operator.send("POST", &path, &body, Some("k1")).await.status,
        202,
        "a key replays its response"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_listed_with_links() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", FILE).await;
    let operator = Operator::new(&world, world.actor.user).await;
    let path = format!("/imports/{}/exports", run.job);
    let list = async || {
        let answer = operator.send("GET", &path, "", None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["exports"].as_array().unwrap().clone()
    };
    let running = list().await;
    let kinds: Vec<_> =
        running.iter().map(|export| (export["kind"].clone(), export["status"].clone())).collect();
    assert_eq!(kinds, [(json!("duplicates"), json!("running")), (json!("rejects"), json!("running"))]);
    world.abandon_tasks().await;
    assert!(list().await.iter().all(|export| export["status"] == "failed" && export["error_message"] == "x"));

    let answer = operator.post(&path, json!({ "kind": "duplicates" })).await;
    assert_eq!((answer.status, &answer.body["job_id"]), (202, &json!(run.job)), "{answer:?}");
    world.abandon_tasks().await;
    world.run_task(run.job, Maintenance::Export(ExportKind::Duplicates)).await;
    world.run_task(run.job, Maintenance::Export(ExportKind::Rejects)).await;
    let ready = list().await;
    assert_eq!(
        (ready.len(), &ready[0]["status"], &ready[0]["rows"]),
        (2, &json!("ready"), &json!(1)),
        "{ready:#?}"
    );
    assert_eq!(ready[1]["files"].as_array().unwrap().len(), 1);
    let url = ready[0]["files"][0]["url"].as_str().unwrap().to_owned();
    let key = ready[0]["files"][0]["key"].as_str().unwrap().to_owned();
    let fetched = tokio::task::spawn_blocking(move || {
        let mut response = ureq::get(&url).call().unwrap();
        let name = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        (name, response.body_mut().read_to_vec().unwrap())
    });
    let (name, fetched) = fetched.await.unwrap();
    assert_eq!(name, "attachment; filename=\"duplicates.csv.gz\"");
    assert_eq!(fetched, world.s3.get(&key).unwrap(), "the link needs no credentials");

    // After staging is cleared, existing exports stay and no others can be made.
    let clear = format!("/imports/{}/staging", run.job);
    for _ in 0..2 {
        let cleared = operator.send("DELETE", &clear, "{\"confirm\":\"CLEAR\"}", None).await;
        assert_eq!((cleared.status, &cleared.body["job_id"]), (200, &json!(run.job)), "{cleared:?}");
    }
    assert_eq!(operator.post(&path, json!({ "kind": "duplicates" })).await.status, 202);
    let gone = operator.post(&path, json!({ "kind": "report" })).await;
    assert_eq!(
        (gone.status, &gone.body["type"]),
        (409, &json!("urn:onceload:problem:staging_cleared")),
        "{gone:?}"
    );
    assert_eq!(list().await.len(), 2);
    // The bucket's lifecycle has deleted the file.
    world.s3.remove(&key);
    assert_eq!(list().await.len(), 1);
    assert_eq!(operator.post(&path, json!({ "kind": "duplicates" })).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_is_refused_while_the_import_works() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nA\n");
    let operator = Operator::new(&world, world.actor.user).await;
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    for (method, what, body) in [
        ("POST", "rollback", json!({ "confirm": "DELETE" })),
        ("POST", "verify", json!({})),
        ("POST", "exports", json!({ "kind": "duplicates" })),
        ("POST", "exports", json!({ "kind": "rejects" })),
        ("DELETE", "staging", json!({ "confirm": "CLEAR" })),
    ] {
        let answer =
            operator.send(method, &format!("/imports/{}/{what}", run.job), &body.to_string(), None).await;
        assert_eq!(
            (answer.status, &answer.body["job_status"]),
            (409, &json!("loading")),
            "{what}: {answer:?}"
        );
        assert_eq!(answer.body["type"], "urn:onceload:problem:wrong-state");
    }
    assert_eq!(count_tasks(&world).await, 0);
    run.finish(&world.actor).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_shows_its_rate_and_remaining_time() {
    let world = World::new().await;
    let mut run = world
        .import_file("a.csv", format!("code\n{}", (0..40).map(|n| format!("C{n}\n")).collect::<String>()));
    run.finish(&world.actor).await.expect(State::Done);
    let operator = Operator::new(&world, world.actor.user).await;
    let path = format!("/imports/{}", run.job);
    let asked = operator.post(&format!("{path}/rollback"), json!({ "confirm": "DELETE" })).await;
    assert_eq!((&asked.body["rate"], &asked.body["eta_seconds"]), (&json!(null), &json!(null)), "{asked:?}");
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.import_progress (job_id, attempt, step, part, rows_done, bytes_done, started_at, updated_at)
             VALUES ('{}', 1, 'rollback', 0, 30, 0, now() - interval '3 s', now())",
            run.job
        ))
        .await;
    let under_way = operator.send("GET", &path, "", None).await.body;
    assert_eq!((&under_way["rate"], &under_way["eta_seconds"]), (&json!(10.0), &json!(1.0)), "{under_way:#}");
    assert_eq!(under_way["counts"]["deleted"], json!(null), "deleted codes are counted after the commit");
}

/// What the preview says is what the rollback does.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_counts_what_a_rollback_would_delete_and_keep() {
    let world = World::with_baseline().await;
    world
        .db
        .exec(
            "CREATE TABLE onceload.orders (merchant_id uuid, code text COLLATE \"C\",
                 FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes ON DELETE CASCADE);
             CREATE TABLE onceload.refunds (merchant_id uuid, code text COLLATE \"C\",
                 FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes ON DELETE CASCADE)",
        )
        .await;
    let run = world.import_to_end("a.csv", numbered("A", 0..100)).await;
    world.abandon_tasks().await;
    for (table, code) in [("orders", 3), ("orders", 4), ("refunds", 4), ("refunds", 5)] {
        world
            .db
            .exec(&format!("INSERT INTO onceload.{table} VALUES ('{}', 'A{code:06}')", world.merchant))
            .await;
    }
    world
        .db
        .exec("UPDATE onceload.codes SET claimed = true WHERE code IN ('A000005', 'A000008', 'A000009')")
        .await;
    let operator = Operator::new(&world, world.actor.user).await;
    let path = format!("/imports/{}/rollback", run.job);
    let preview = async || operator.send("GET", &path, "", None).await;
    let answer = preview().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.body,
        json!({ "job_id": run.job, "inserted": 100, "delete": 95,
                "keep": { "claimed": 3, "referenced": 3, "both": 1 }, "exact": true })
    );

    // Counting gives up in time.
    let mut admin = world.db.connect_as_admin().await;
    let locked = admin.transaction().await.unwrap();
    locked.batch_execute("LOCK TABLE onceload.orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let limit = std::time::Duration::from_millis(200);
    assert_eq!(count(&world.app, run.job, world.merchant, limit).await.unwrap(), None);
    locked.rollback().await.unwrap();

    // References that may not be read can't be counted.
    admin.batch_execute("ALTER TABLE onceload.orders OWNER TO CURRENT_USER; REVOKE ALL ON onceload.orders FROM PUBLIC, onceload").await.unwrap();
    let none = json!(null);
    assert_eq!(
        preview().await.body,
        json!({ "job_id": run.job, "inserted": 100, "delete": none,
                "keep": { "claimed": none, "referenced": none, "both": none }, "exact": false })
    );
    admin.batch_execute("GRANT SELECT ON onceload.orders TO onceload").await.unwrap();

    let rolled_back = world.run_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    assert_eq!((&rolled_back["codes_deleted"], &rolled_back["codes_kept"]), (&json!(95), &json!(5)));
    let after = preview().await;
    assert_eq!((after.status, &after.body["job_status"]), (409, &json!("rolled_back")), "{after:?}");
}
