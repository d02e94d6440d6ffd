//! How many keys and uploads a user may hold, and which routes take a key.

use onceload_tests::communities::{create, post};
use onceload_tests::concurrency::all_at_once;
use onceload_tests::fixture::{add_member, subject};
use onceload_tests::http::{Response, receive, request, with_key};
use onceload_tests::{State, World};
use serde_json::{Value, json};
use shared::db::idempotency_keys::{MAX_ANSWER_BYTES, MAX_KEYS};
use shared::db::uploads::{MAX_OPEN, MAX_OPEN_OF_MERCHANT};
use shared::domain::actor::Actor;

fn named(name: &str) -> Value {
    json!({ "name": name })
}

fn assert_too_many(response: &Response, problem: &str) {
    assert_eq!(response.problem().0, 429, "{response:?}");
    assert_eq!(response.body["type"], json!(format!("urn:onceload:problem:{problem}")));
    let seconds: u64 = response.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=86_400).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_keeps_so_many_keys_and_gets_a_new_one_when_the_first_expires() {
    const AT_ONCE: i64 = 32;
    let world = World::new().await;
    let app = world.app_with_pool(usize::try_from(AT_ONCE).unwrap());
    create(&app, "ada", None, &named("First use")).await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.idempotency_keys (user_id, key, fingerprint, response_status, response_headers, response_body)
             SELECT u.id, 'old-' || n, decode(repeat('00', 32), 'hex'), 201, '[]', '\\x7b7d'
               FROM onceload.users u, generate_series(1, {MAX_KEYS} - 8) n WHERE u.subject = 'ada'"
        ))
        .await;
    let calls = (0..AT_ONCE).map(|n| {
        let app = app.clone();
        async move { create(&app, "ada", Some(&format!("new-{n}")), &named(&format!("Place {n}"))).await }
    });
    let answers = all_at_once(calls).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(made >= 8, "{made} of the 8 that there was room for");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_too_many(refused, "too-many-keys");
    }
    let kept = world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await;
    assert!(
        (MAX_KEYS..MAX_KEYS + AT_ONCE).contains(&kept),
        "{kept}: only those that came at once may be more"
    );

    assert_too_many(&create(&app, "ada", Some("late"), &named("Late")).await, "too-many-keys");
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities WHERE name = 'Late'").await, 0);
    let first = answers.iter().position(|answer| answer.status == 201).expect("an answer");
    let again = create(&app, "ada", Some(&format!("new-{first}")), &named(&format!("Place {first}"))).await;
    assert_eq!((again.status, &again.body), (201, &answers[first].body), "what is stored is still answered");
    assert_eq!(create(&app, "ada", None, &named("Without a key")).await.status, 201);
    assert_eq!(
        create(&app, "bob", Some("late"), &named("Of bob")).await.status,
        201,
        "keys belong to their users"
    );
    world.db.exec("UPDATE onceload.idempotency_keys SET expires_at = now() - interval '1 second' WHERE key LIKE 'old-%'").await;
    assert_eq!(create(&app, "ada", Some("late"), &named("Late")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_a_user_have_so_many_bytes() {
    let world = World::new().await;
    create(&world.app, "ada", None, &named("First use")).await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.idempotency_keys (user_id, key, fingerprint, response_status, response_headers, response_body)
             SELECT id, 'old', decode(repeat('00', 32), 'hex'), 201, '[]', convert_to(repeat('x', {MAX_ANSWER_BYTES}), 'UTF8')
               FROM onceload.users WHERE subject = 'ada'"
        ))
        .await;
    assert_too_many(&create(&world.app, "ada", Some("k"), &named("Late")).await, "too-many-keys");
}

async fn declare(world: &World, actor: &Actor, name: &str) -> Response {
    let body = json!({ "merchant_id": world.merchant, "name": name, "size": 10, "batch": "b" }).to_string();
    receive(
        import_jobs::handle(world.app.clone(), request("POST", "/uploads", Some(&subject(actor)), &body))
            .await,
    )
}

async fn add_open_uploads(world: &World, actor: &Actor, count: i64) {
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.uploads (id, merchant_id, user_id, key, size, expires_at)
             SELECT gen_random_uuid(), '{m}', '{user}', 'uploads/{m}/of-{user}/' || n, 1, now() + interval '15 minutes'
               FROM generate_series(1, {count}) n",
            m = world.merchant,
            user = actor.user
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_uploads_wait_to_be_sent() {
    let world = World::new().await;
    assert_eq!(declare(&world, &world.actor, "first.csv").await.status, 201);
    add_open_uploads(&world, &world.actor, MAX_OPEN - 1).await;
    assert_too_many(&declare(&world, &world.actor, "late.csv").await, "too-many-uploads");
    assert_eq!(
        declare(&world, &world.actor, "first.csv").await.status,
        201,
        "fresh links for what is declared"
    );

    let other = add_member(&world.db, world.merchant).await;
    assert_eq!(
        declare(&world, &other, "other.csv").await.status,
        201,
        "another member has a share of their own"
    );
    let third = add_member(&world.db, world.merchant).await;
    add_open_uploads(&world, &third, MAX_OPEN_OF_MERCHANT - MAX_OPEN - 1).await;
    assert_too_many(&declare(&world, &other, "late.csv").await, "too-many-uploads");
    world.db.exec("UPDATE onceload.uploads SET expires_at = now() - interval '1 second'").await;
    assert_eq!(
        declare(&world, &world.actor, "late.csv").await.status,
        201,
        "links that have run out don't count"
    );
}

/// `(method, path, takes a key)` of every POST and DELETE in docs/openapi.yaml.
fn documented() -> Vec<(&'static str, &'static str, bool)> {
    let (mut found, mut path, mut reads) = (Vec::new(), "", false);
    for line in include_str!("../../../../docs/openapi.yaml").lines().skip_while(|line| *line != "paths:") {
        match line {
            "components:" => break,
            "    post:" => found.push(("POST", path, false)),
            "    delete:" => found.push(("DELETE", path, false)),
            _ if line.starts_with("  /") => path = line.trim().trim_end_matches(':'),
            _ if line.contains("parameters/IdempotencyKey") && !reads => {
                found.last_mut().expect("an operation").2 = true;
            }
            _ => {}
        }
        reads = line == "    get:" || (reads && !line.starts_with("    post:") && !line.starts_with("  /"));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_routes_that_say_so_take_an_idempotency_key() {
    let world = World::new().await;
    let (m, app) = (world.merchant, &world.app);
    let caller = subject(&world.actor);
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let key = world.correct("b.csv", "code\nB\n");
    let upload = declare(&world, &world.actor, "c.csv").await.body["upload_id"].as_str().unwrap().to_owned();
    let community =
        create(app, &caller, None, &named("A")).await.body["community_id"].as_str().unwrap().to_owned();
    for (method, path, takes_key) in documented() {
        let body = match path {
            "/communities" => named("B"),
            "/imports/queue-processing" | "/imports/check" => json!({ "merchant_id": m, "files": [key] }),
            "/migrations/run" => json!({ "merchant_id": m, "file": key, "mapping": { "code": "code" } }),
            "/uploads" => json!({ "merchant_id": m, "name": "d.csv", "size": 1 }),
            "/imports/{id}/files/{file_no}" => json!({ "action": "leave_out" }),
            "/imports/{id}/approve" => json!({ "confirm": "YES", "clean_count": 1 }),
            "/imports/{id}/rollback" => json!({ "confirm": "DELETE" }),
            "/imports/{id}/exports" => json!({ "kind": "report" }),
            "/imports/{id}/staging" => json!({ "confirm": "CLEAR" }),
            _ => json!({}),
        };
        let id = match path {
            _ if path.starts_with("/uploads") => upload.clone(),
            _ if path.starts_with("/communities") => community.clone(),
            _ => run.job.to_string(),
        };
        let (url, long) = (path.replace("{id}", &id).replace("{file_no}", "1"), "k".repeat(256));
        let answer = match path {
            _ if path.starts_with("/communities") => {
                post(app, &caller, &url, Some(&long), &body.to_string()).await
            }
            _ => {
                let request = with_key(request(method, &url, Some(&caller), &body.to_string()), &long);
                receive(match path {
                    "/imports/queue-processing" => queue_processing::handle(app.clone(), request).await,
                    "/migrations/run" => run_migration::handle(app.clone(), request).await,
                    _ => import_jobs::handle(app.clone(), request).await,
                })
            }
        };
        let refused =
            answer.status == 400 && answer.body["detail"].to_string().contains("Idempotency key too long");
        assert_eq!(refused, takes_key, "{method} {path}: {answer:?}");
    }
    assert_eq!(world.read_status(run.job).await, "completed", "{:?}", State::Done);
}
