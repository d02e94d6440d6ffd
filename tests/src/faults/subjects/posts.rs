//! The POSTs, with an `Idempotency-Key` where the client's page sends one, and without a key where a rule of the database must do.

use super::steps::import_at;
use crate::call::Call;
use crate::fixture::subject;
use crate::links::put;
use crate::{Run, State, World};
use serde_json::{Value, json};

const KEY: &str = "4f9d5c53";
const MIB: usize = 1024 * 1024;

fn post(world: &World, function: &str, path: &str, body: &Value) -> Call {
    Call::request(function, "POST", path, &subject(&world.actor), body)
}

fn post_import(world: &World, run: &Run, what: &str, body: &Value) -> Call {
    post(world, "import-jobs", &format!("/imports/{}/{what}", run.job), body)
}

/// The answer to a request that the preparation makes.
async fn ask(world: &World, call: Call) -> Value {
    match call.make(world.app.clone(), crate::execution::budget()).await {
        crate::call::Answer::Response { status: 200..300, body } => body,
        other => panic!("{}: {other:?}", call.function),
    }
}

pub(super) async fn communities(world: &World) -> Call {
    let body = json!({ "name": "Coffee", "tags": ["beans", "beans", "milk"], "images": ["https://x.example/a.png"] });
    post(world, "create-community", "/communities", &body).with_key(KEY)
}

pub(super) async fn join_without_key(world: &World) -> Call {
    let owner = crate::fixture::add_member(&world.db, world.merchant).await;
    let created = Call::request(
        "create-community",
        "POST",
        "/communities",
        &subject(&owner),
        &json!({ "name": "Tea" }),
    );
    let created = ask(world, created).await;
    let path = format!("/communities/{}/join", created["community_id"].as_str().expect("an id"));
    post(world, "join-community", &path, &json!({}))
}

pub(super) async fn join(world: &World) -> Call {
    join_without_key(world).await.with_key(KEY)
}

pub(super) async fn queue_processing_without_key(world: &World) -> Call {
    let body = json!({ "merchant_id": world.merchant, "files": [world.upload("a.csv", "code\nA\n")] });
    post(world, "queue-processing", "/imports/queue-processing", &body)
}

pub(super) async fn queue_processing(world: &World) -> Call {
    queue_processing_without_key(world).await.with_key(KEY)
}

pub(super) async fn run_migration_without_key(world: &World) -> Call {
    let body = json!({ "merchant_id": world.merchant, "file": world.upload("a.csv", "Voucher\nA\n"),
                       "mapping": { "code": "Voucher" } });
    post(world, "run-migration", "/migrations/run", &body)
}

pub(super) async fn run_migration(world: &World) -> Call {
    run_migration_without_key(world).await.with_key(KEY)
}

fn declare_call(world: &World, size: usize) -> Call {
    let body = json!({ "merchant_id": world.merchant, "name": "a.csv", "size": size, "batch": "one" });
    post(world, "import-jobs", "/uploads", &body)
}

pub(super) async fn declare(world: &World) -> Call {
    declare_call(world, 9)
}

pub(super) async fn declare_parts(world: &World) -> Call {
    declare_call(world, 17 * MIB)
}

fn complete_call(world: &World, declared: &Value, parts: &Value) -> Call {
    let path = format!("/uploads/{}/complete", declared["upload_id"].as_str().expect("an id"));
    post(world, "import-jobs", &path, &json!({ "parts": parts }))
}

pub(super) async fn complete(world: &World) -> Call {
    let declared = ask(world, declare_call(world, 9)).await;
    put(&declared["url"], b"code\nA\nB\n".to_vec()).await;
    complete_call(world, &declared, &json!([]))
}

pub(super) async fn complete_parts(world: &World) -> Call {
    let declared = ask(world, declare_call(world, 17 * MIB)).await;
    let mut sent = Vec::new();
    for part in declared["parts"].as_array().expect("parts") {
        let size = usize::try_from(part["size"].as_u64().expect("a size")).expect("a size");
        let (_, etag) = put(&part["url"], vec![b'x'; size]).await;
        sent.push(json!({ "number": sent.len() + 1, "etag": etag }));
    }
    complete_call(world, &declared, &json!(sent))
}

pub(super) async fn check(world: &World) -> Call {
    let files = [world.upload("a.csv", "code\nA\nA\n"), world.upload("b.csv", "code,points\nB,x\n")];
    post(world, "import-jobs", "/imports/check", &json!({ "merchant_id": world.merchant, "files": files }))
}

/// An import that waits for a person.
async fn waiting(world: &World) -> Run {
    let mut run = import_at(world, State::WaitForApproval).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run
}

pub(super) async fn approve_without_key(world: &World) -> Call {
    let run = waiting(world).await;
    let body = json!({ "confirm": "YES", "clean_count": run.clean, "accept_duplicates": true });
    post_import(world, &run, "approve", &body)
}

pub(super) async fn approve(world: &World) -> Call {
    approve_without_key(world).await.with_key(KEY)
}

/// Another import works: this one is approved and stands in line.
pub(super) async fn approve_busy(world: &World) -> Call {
    let call = approve(world).await;
    let mut other = world.import_file("other.csv", "code\nOTHER\n");
    other.until(State::LoadFiles).await.expect(State::LoadFiles);
    call
}

pub(super) async fn cancel_without_key(world: &World) -> Call {
    post_import(world, &waiting(world).await, "cancel", &json!({}))
}

pub(super) async fn cancel(world: &World) -> Call {
    cancel_without_key(world).await.with_key(KEY)
}

/// An import of two files that has failed because of the second.
async fn failed(world: &World) -> Run {
    let files = [world.upload("a.csv", "code,sku\nA,1\n"), world.upload("b.csv", "code,sku\nB,\"\n")];
    let mut run = world.import_objects(&[&files[0], &files[1]]);
    run.until(State::Done).await.error();
    run
}

pub(super) async fn retry_without_key(world: &World) -> Call {
    post_import(world, &failed(world).await, "retry", &json!({}))
}

pub(super) async fn retry(world: &World) -> Call {
    retry_without_key(world).await.with_key(KEY)
}

pub(super) async fn replace(world: &World) -> Call {
    let run = failed(world).await;
    let key = world.correct("better.csv", "code,sku\nB,1\n");
    post_import(world, &run, "files/2", &json!({ "action": "replace", "key": key })).with_key(KEY)
}

/// A file of an import that waits for a person.
pub(super) async fn leave_out(world: &World) -> Call {
    post_import(world, &waiting(world).await, "files/2", &json!({ "action": "leave_out" })).with_key(KEY)
}

/// An import that is completed and has no task under way.
async fn completed(world: &World) -> Run {
    let run = import_at(world, State::Done).await;
    world.abandon_tasks().await;
    run
}

pub(super) async fn rollback_without_key(world: &World) -> Call {
    post_import(world, &completed(world).await, "rollback", &json!({ "confirm": "DELETE" }))
}

pub(super) async fn rollback(world: &World) -> Call {
    rollback_without_key(world).await.with_key(KEY)
}

pub(super) async fn verify(world: &World) -> Call {
    post_import(world, &completed(world).await, "verify", &json!({})).with_key(KEY)
}

pub(super) async fn export_without_key(world: &World) -> Call {
    post_import(world, &completed(world).await, "exports", &json!({ "kind": "report" }))
}

pub(super) async fn export(world: &World) -> Call {
    export_without_key(world).await.with_key(KEY)
}

pub(super) async fn clear_staging(world: &World) -> Call {
    let path = format!("/imports/{}/staging", completed(world).await.job);
    Call::request("import-jobs", "DELETE", &path, &subject(&world.actor), &json!({ "confirm": "CLEAR" }))
        .with_key(KEY)
}
