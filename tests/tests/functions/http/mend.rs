//! `POST /imports/{id}/files/{file_no}`: bodies, membership, keys of other merchants, and idempotency keys.

use onceload_tests::fixture::{add_member, add_merchant, subject};
use onceload_tests::http::{Response, receive, request, with_key};
use onceload_tests::{State, World};
use serde_json::{Value, json};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;

async fn send(world: &World, actor: &Actor, path: &str, body: &str, key: Option<&str>) -> Response {
    let mut request = request("POST", path, Some(&subject(actor)), body);
    if let Some(key) = key {
        request = with_key(request, key);
    }
    receive(import_jobs::handle(world.app.clone(), request).await)
}

async fn post(world: &World, path: &str, body: Value) -> Response {
    send(world, &world.actor, path, &body.to_string(), None).await
}

fn assert_conflict(answer: &Response, name: &str) {
    let kind = json!(format!("urn:onceload:problem:{name}"));
    assert_eq!((answer.status, &answer.body["type"]), (409, &kind), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_is_checked_before_anything_changes() {
    let world = World::new().await;
    let mut run =
        world.import_objects(&[&world.upload("a.csv", "code\nA\n"), &world.upload("b.csv", "code\nB\n")]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let better = world.correct("better.csv", "code\nC\n");
    let other = add_merchant(&world.db, "Other").await;
    let foreign = format!("uploads/{other}/c.csv");
    world.s3.put(&foreign, "code\nSTOLEN\n");
    // A member of both merchants can't mix them either.
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{other}', '{}')",
            world.actor.user
        ))
        .await;
    let staged = world.upload("c.csv", "code\nC\n");
    let replace = json!({ "action": "replace", "key": better });
    let path = format!("/imports/{}/files/1", run.job);

    let stranger = add_member(&world.db, add_merchant(&world.db, "Third").await).await;
    assert_eq!(send(&world, &stranger, &path, "{", None).await.status, 404, "before the body is looked at");
    for file in ["3", "0", "-1", "x", "99999999999", "1/1"] {
        let path = format!("/imports/{}/files/{file}", run.job);
        assert_eq!(post(&world, &path, replace.clone()).await.status, 404, "{file}");
    }
    let nobody = format!("/imports/{}/files/1", JobId::generate());
    assert_eq!(post(&world, &nobody, replace.clone()).await.status, 404);
    assert_eq!(send(&world, &world.actor, &path, "{", None).await.status, 400);
    for (body, pointer) in [
        (json!({}), "/action"),
        (json!({ "key": better }), "/action"),
        (json!({ "action": "repair" }), "/action"),
        (json!({ "action": 1 }), "/action"),
        (json!({ "action": "replace" }), "/key"),
        (json!({ "action": "replace", "key": null }), "/key"),
        (json!({ "action": "replace", "key": 7 }), "/key"),
        (json!({ "action": "leave_out", "key": better }), "/key"),
        (json!({ "action": "replace", "key": foreign }), "/key"),
        (json!({ "action": "replace", "key": staged }), "/key"),
        (
            json!({ "action": "replace", "key": format!("uploads/{}/../{other}/c.csv", world.merchant) }),
            "/key",
        ),
        (json!({ "action": "replace", "key": format!("uploads/{}/", world.merchant) }), "/key"),
        (json!({ "action": "replace", "key": format!("uploads/{}/none.csv", world.merchant) }), "/key"),
        (json!({ "action": "leave_out", "force": true }), "/force"),
        (json!([]), ""),
    ] {
        assert_eq!(post(&world, &path, body.clone()).await.problem(), (422, pointer), "{body}");
    }
    assert_eq!(world.read_status(run.job).await, "awaiting_approval");
    assert_eq!(world.read_job(run.job).await["attempt"], 1);

    let mended = post(&world, &path, replace.clone()).await;
    assert_eq!((mended.status, &mended.body["status"]), (202, &json!("loading")), "{mended:?}");
    assert_eq!(mended.body["attempt"], 2);
    assert_conflict(&post(&world, &path, json!({ "action": "leave_out" })).await, "wrong-state");
    assert_eq!(post(&world, &path, replace).await.status, 202, "a double click without a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_is_refused_for_what_is_in_its_way() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let path = format!("/imports/{}/files/1", run.job);
    assert_conflict(&post(&world, &path, json!({ "action": "leave_out" })).await, "last-file");
    let better = world.correct("better.csv", "code\nC\n");
    let replace = json!({ "action": "replace", "key": better });
    let mut other = world.import_file("o.csv", "code\nO\n");
    other.until(State::LoadFiles).await.expect(State::LoadFiles);
    let busy = post(&world, &path, replace.clone()).await;
    assert_conflict(&busy, "merchant-busy");
    assert_eq!(busy.body["active_job_id"], json!(other.job));
    other.until(State::InsertCodes).await.expect(State::InsertCodes);
    // Nobody asks again: the lease is kept for them no longer.
    world.db.exec("UPDATE onceload.codes_import_jobs SET asked_at = NULL").await;
    let mut same = world.import_objects(&[&better]);
    same.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_conflict(&post(&world, &path, replace).await, "source-active");
}

/// A key is one file of the import.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_file_is_refused() {
    let world = World::new().await;
    let (a, b) = (world.correct("a.csv", "code\nA\n"), world.correct("b.csv", "code\nB\n"));
    let mut run = world.import_objects(&[&a, &b]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let path = format!("/imports/{}/files/1", run.job);
    assert_eq!(post(&world, &path, json!({ "action": "replace", "key": b })).await.problem(), (422, "/key"));
    // Its own key names a newer version.
    world.s3.put(&a, "code\nA2\n");
    assert_eq!(post(&world, &path, json!({ "action": "replace", "key": a })).await.status, 202);
    let mut second = onceload_tests::Run::of_job(&world.app, run.job, 2);
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["A2", "B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_with_a_key_is_done_once() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let path = format!("/imports/{}/files/1", run.job);
    let better = world.correct("better.csv", "code\nC\n");
    let body = json!({ "action": "replace", "key": better }).to_string();
    let first = send(&world, &world.actor, &path, &body, Some("mend-1")).await;
    assert_eq!(first.status, 202, "{first:?}");
    let mut second = onceload_tests::Run::of_job(&world.app, run.job, 2);
    second.until(State::InsertCodes).await.expect(State::InsertCodes);
    // The object is gone, the import waits again: the answer is the first one, and nothing is marked again.
    world.s3.remove(&better);
    let replayed = send(&world, &world.actor, &path, &body, Some("mend-1")).await;
    assert_eq!((replayed.status, &replayed.body), (202, &first.body));
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_eq!(world.read_job(run.job).await["attempt"], 2);
    let other = send(&world, &world.actor, &path, "{\"action\":\"leave_out\"}", Some("mend-1")).await;
    assert_eq!(other.status, 422, "another request");
    // What is refused is not stored.
    assert_eq!(send(&world, &world.actor, &path, &body, Some("mend-2")).await.problem(), (422, "/key"));
    world.s3.put(&better, "code\nC\nD\n");
    assert_eq!(send(&world, &world.actor, &path, &body, Some("mend-2")).await.status, 202);
}

/// The import of a page: its user has one import at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_mend_takes_the_lease_of_the_import_s_user() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let user = world.actor.user;
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET created_by = '{user}',
                    source_info = source_info || '{{\"door\":\"queue-processing\"}}' WHERE id = '{0}';
             INSERT INTO onceload.user_profiles (user_id, import_status, job_id, processing_started_at)
             SELECT '{user}', 'processing', '{0}', now()",
            run.job
        ))
        .await;
    let better = world.correct("better.csv", "code\nC\n");
    let other = world.import_until_approval("o.csv", "code\nO\n").await;
    world.db.exec(&format!("UPDATE onceload.user_profiles SET job_id = '{}'", other.job)).await;
    let path = format!("/imports/{}/files/1", run.job);
    let replace = json!({ "action": "replace", "key": better });
    assert_conflict(&post(&world, &path, replace.clone()).await, "user-busy");
    world.db.exec("UPDATE onceload.user_profiles SET import_status = 'idle'").await;
    assert_eq!(post(&world, &path, replace).await.status, 202);
    let profile = "SELECT import_status || ' ' || job_id FROM onceload.user_profiles";
    assert_eq!(world.db.column(profile).await, [format!("processing {}", run.job)]);
}
