//! Communities over HTTP: what is made, which address it gets, and what a bad tag costs.

use lambda_http::request::RequestContext;
use onceload_tests::db::rows;
use onceload_tests::http::{Said, request, said, with_key};
use onceload_tests::{Bench, TestDb};
use serde_json::{Value, json};
use shared::db::sql;
use shared::edge::App;
use std::collections::BTreeSet;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A POST of the user with this `sub`.
pub async fn post(app: &App, subject: &str, path: &str, key: Option<&str>, body: &str) -> Said {
    let request = request("POST", path, Some(subject), body);
    let request = match key {
        Some(key) => with_key(request, key),
        None => request,
    };
    let app = app.clone();
    said(match path {
        "/communities" => create_community::handle(app, request).await,
        _ => join_community::handle(app, request).await,
    })
}

pub async fn create(app: &App, subject: &str, key: Option<&str>, body: &Value) -> Said {
    post(app, subject, "/communities", key, &body.to_string()).await
}

/// A new community's address.
async fn address(app: &App, name: &str) -> String {
    let made = create(app, "ada", None, &json!({ "name": name })).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["unique_url"].as_str().unwrap().to_owned()
}

/// The bench, and an `App` with a connection for each of many requests at once.
async fn crowded() -> (Bench, App) {
    let bench = Bench::new().await;
    let app = App { db: bench.db.pool(64), ..bench.app.clone() };
    (bench, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_community_its_membership_and_its_subscription() {
    let bench = Bench::new().await;
    let body = json!({
        "name": " Coffee Lovers ", "description": "Beans.", "tags": ["coffee", "Filter", "COFFEE"],
        "images": ["https://img.example/b.png", "https://img.example/a.png"],
    });
    let made = create(&bench.app, "ada", None, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["community_id"].as_str().unwrap();
    assert_eq!(made.header("location"), Some(format!("/communities/{id}").as_str()));
    assert_eq!(made.header("content-type"), Some("application/json"));
    assert_eq!(made.header("idempotent-replayed"), None);
    let owner = bench.db.value("SELECT id FROM users WHERE subject = 'ada'").await;
    let created_at = bench.db.value("SELECT to_json(created_at) #>> '{}' FROM communities").await;
    let shown: chrono::DateTime<chrono::Utc> = made.body["created_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(shown, created_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    let mut body = made.body.clone();
    body.as_object_mut().unwrap().remove("created_at");
    assert_eq!(
        body,
        json!({
            "community_id": id, "name": "Coffee Lovers", "unique_url": "coffee-lovers", "description": "Beans.",
            "tags": ["coffee", "Filter"],
            "images": ["https://img.example/b.png", "https://img.example/a.png"],
            "owner_id": owner, "role": "owner", "warnings": [],
        })
    );
    let members = bench.db.rows("SELECT community_id, user_id, role FROM community_members").await;
    assert_eq!(members, [[Some(id.to_owned()), Some(owner.clone()), Some("owner".into())]]);
    let subscriptions = bench.db.rows("SELECT community_id, user_id, plan, status FROM subscriptions").await;
    assert_eq!(
        subscriptions,
        [[Some(id.to_owned()), Some(owner), Some("free".into()), Some("active".into())]]
    );
    let tags = bench.db.column("SELECT tag FROM community_tags ORDER BY tag COLLATE \"C\"").await;
    assert_eq!(tags, ["Filter", "coffee"]);
    let images = bench.db.column("SELECT url FROM community_images ORDER BY position").await;
    assert_eq!(images, ["https://img.example/b.png", "https://img.example/a.png"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses() {
    let bench = Bench::new().await;
    for (name, expected) in [
        ("Café Zoë", "cafe-zoe"),
        ("CAFE ZOE!", "cafe-zoe-1"),
        ("Admin", "admin-1"),
        ("admin", "admin-2"),
        ("???", "community"),
        ("!", "community-1"),
        ("Community", "community-2"),
        // "a 1" and "a 2" are at the addresses that the second and third "a" would get.
        ("a", "a"),
        ("a 1", "a-1"),
        ("A-2", "a-2"),
        ("a", "a-3"),
        ("a", "a-4"),
        ("a 1", "a-1-1"),
        ("a 3", "a-3-1"),
        ("a 7", "a-7"),
        ("a", "a-5"),
        ("a", "a-6"),
        ("a", "a-8"),
        ("a 1 1", "a-1-1-1"),
    ] {
        assert_eq!(address(&bench.app, name).await, expected, "{name}");
    }
    let long = "x".repeat(100);
    assert_eq!(address(&bench.app, &long).await, "x".repeat(50));
    assert_eq!(address(&bench.app, &long).await, format!("{}-1", "x".repeat(50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_of_one_name_at_once() {
    let (bench, app) = crowded().await;
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..64 {
        let app = app.clone();
        // Half of them are one user's, with a key each.
        let subject = if i % 2 == 0 { "ada".to_owned() } else { format!("user-{i}") };
        calls.spawn(async move {
            create(&app, &subject, Some(&format!("key-{i}")), &json!({ "name": "Coffee" })).await
        });
    }
    let mut found = BTreeSet::new();
    for made in calls.join_all().await {
        assert_eq!((made.status, made.header("idempotent-replayed")), (201, None), "{made:?}");
        found.insert(made.body["unique_url"].as_str().unwrap().to_owned());
    }
    let expected: BTreeSet<String> = std::iter::once("coffee".to_owned())
        .chain((1..64).map(|suffix| format!("coffee-{suffix}")))
        .collect();
    assert_eq!(found, expected);
    let counts =
        "SELECT (SELECT count(*) FROM communities) || ' ' || (SELECT count(*) FROM community_members)
                      || ' ' || (SELECT count(*) FROM subscriptions)";
    assert_eq!(bench.db.value(counts).await, "64 64 64");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_whose_addresses_meet_at_once() {
    let (_bench, app) = crowded().await;
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..60 {
        let app = app.clone();
        let name = ["b", "b 1", "b 1 1"][i % 3];
        calls.spawn(
            async move { create(&app, &format!("user-{}", i % 8), None, &json!({ "name": name })).await },
        );
    }
    let mut found = BTreeSet::new();
    for made in calls.join_all().await {
        assert_eq!(made.status, 201, "{made:?}");
        let address = made.body["unique_url"].as_str().unwrap().to_owned();
        assert!(found.insert(address), "{made:?}");
    }
}

/// Who doesn't take our lock can still not make an address twice: the unique index decides, and we try the next.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_snatched_away() {
    let bench = Bench::new().await;
    let foreign = bench.db.connect().await;
    let (user, id) = (bench.actor.user, Uuid::now_v7());
    foreign
        .batch_execute(&format!(
            "BEGIN; INSERT INTO communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             VALUES ('{id}', '{user}', 'c', 0, 'c', 'c')"
        ))
        .await
        .unwrap();
    let app = bench.app.clone();
    let waiting = tokio::spawn(async move { address(&app, "C").await });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '-- communities.create%'";
    bench.db.until("the create waits for the other's address", waits).await;
    foreign.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap(), "c-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_a_warning() {
    let bench = Bench::new().await;
    let body = json!({
        "name": "Soft", "tags": ["fine", "x".repeat(60), " "],
        "images": ["http://img.example/a.png", "https://img.example/b.png"],
    });
    let made = create(&bench.app, "ada", None, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["tags"], json!(["fine"]));
    assert_eq!(made.body["images"], json!(["https://img.example/b.png"]));
    let pointers: Vec<&str> = made.body["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| {
            assert!(warning["detail"].as_str().unwrap().contains("left out"), "{warning}");
            warning["pointer"].as_str().unwrap()
        })
        .collect();
    assert_eq!(pointers, ["/tags/1", "/tags/2", "/images/0"]);
}

/// What only the database knows to refuse: one kind is undone, the rest stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_kind_does_not_break_the_create() {
    let bench = Bench::new().await;
    bench
        .db
        .exec(
            "ALTER TABLE community_tags ADD CONSTRAINT no_bad_words CHECK (tag <> 'forbidden');
             ALTER TABLE community_images ADD CONSTRAINT one_host CHECK (url LIKE 'https://img.example/%')",
        )
        .await;
    let images = ["https://img.example/a.png"];
    let tags = ["fine", "forbidden"];
    for (name, tags, images, kept, warned) in [
        ("Tags", json!(tags), json!(images), json!([[], images]), json!(["/tags"])),
        ("Images", json!(["fine"]), json!(["https://a.b"]), json!([["fine"], []]), json!(["/images"])),
        ("Both", json!(tags), json!(["https://a.b"]), json!([[], []]), json!(["/tags", "/images"])),
    ] {
        let body = json!({ "name": name, "tags": tags, "images": images });
        let made = create(&bench.app, "ada", Some(name), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(json!([made.body["tags"], made.body["images"]]), kept, "{made:?}");
        let warnings = made.body["warnings"].as_array().unwrap();
        let pointers: Vec<&Value> = warnings.iter().map(|warning| &warning["pointer"]).collect();
        assert_eq!(json!(pointers), warned, "{made:?}");
        assert!(!made.body.to_string().contains("no_bad_words"), "nothing internal: {made:?}");
        let again = create(&bench.app, "ada", Some(name), &body).await;
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &made.body));
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM communities").await, 3);
    assert_eq!(bench.db.column("SELECT tag FROM community_tags").await, ["fine"]);
    assert_eq!(bench.db.column("SELECT url FROM community_images").await, images);
}

/// Only bad data is forgiven. A failing database is not a warning, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn other_failures_are_failures() {
    let bench = Bench::new().await;
    bench.db.exec("ALTER TABLE community_images RENAME TO gone").await;
    let body = json!({ "name": "Hard", "tags": ["a"], "images": ["https://a.b"] });
    let failed = create(&bench.app, "ada", Some("k"), &body).await;
    assert_eq!(failed.problem().0, 500, "{failed:?}");
    assert!(!failed.body.to_string().contains("community_images"), "{failed:?}");
    for table in ["communities", "community_members", "subscriptions", "community_tags", "idempotency_keys"] {
        assert_eq!(bench.db.int(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    bench.db.exec("ALTER TABLE gone RENAME TO community_images").await;
    let made = create(&bench.app, "ada", Some("k"), &body).await;
    assert_eq!((made.status, made.header("idempotent-replayed")), (201, None), "the same key: {made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_name_every_field() {
    let bench = Bench::new().await;
    let body = json!({ "name": " ", "description": 7, "tags": ["a", 1], "images": "x", "colour": "red" });
    let refused = create(&bench.app, "ada", None, &body).await;
    assert_eq!(refused.problem().0, 422);
    let errors = refused.body["errors"].as_array().unwrap();
    let mut pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/colour", "/description", "/images", "/name", "/tags/1"]);
    assert!(errors.iter().all(|error| !error["detail"].as_str().unwrap().is_empty()));

    for (body, problem) in [
        ("", (400, "-")),
        ("{", (400, "-")),
        ("[]", (422, "")),
        ("null", (422, "")),
        (r#"{"name": "a\u0000b"}"#, (422, "/name")),
        (r#"{"name": "a", "description": "\u0000"}"#, (422, "/description")),
    ] {
        let refused = post(&bench.app, "ada", "/communities", None, body).await;
        assert_eq!(refused.problem(), problem, "{body}");
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM communities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_verified_address() {
    let bench = Bench::new().await;
    let body = r#"{"name": "Coffee"}"#;
    let nobody =
        said(create_community::handle(bench.app.clone(), request("POST", "/communities", None, body)).await);
    assert_eq!(nobody.problem().0, 401);
    for unverified in [Some("false"), Some("TRUE "), Some(""), None] {
        let mut request = request("POST", "/communities", Some("ada"), body);
        let Some(RequestContext::ApiGatewayV2(context)) = request.extensions_mut().get_mut() else {
            panic!("the gateway's context")
        };
        let claims = &mut context.authorizer.as_mut().unwrap().jwt.as_mut().unwrap().claims;
        match unverified {
            Some(text) => claims.insert("email_verified".into(), text.into()),
            None => claims.remove("email_verified"),
        };
        let refused = said(create_community::handle(bench.app.clone(), request).await);
        assert_eq!(refused.problem().0, 403, "{unverified:?}: {refused:?}");
        assert_eq!(refused.body["type"], "urn:onceload:problem:email-not-verified");
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM communities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn joining() {
    let bench = Bench::new().await;
    let made = create(&bench.app, "ada", None, &json!({ "name": "Coffee" })).await;
    let id = made.body["community_id"].as_str().unwrap();
    let path = format!("/communities/{id}/join");
    let joined = post(&bench.app, "bob", &path, Some("k"), "").await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let bob = bench.db.value("SELECT id FROM users WHERE subject = 'bob'").await;
    let joined_at = &joined.body["joined_at"];
    assert_eq!(
        joined.body,
        json!({ "community_id": id, "user_id": bob, "role": "member", "joined_at": joined_at })
    );
    assert!(joined_at.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok());
    let replayed = post(&bench.app, "bob", &path, Some("k"), "").await;
    assert_eq!((replayed.status, &replayed.body), (201, &joined.body));
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    let again = post(&bench.app, "bob", &path, None, "{}").await;
    assert_eq!((again.status, &again.body), (200, &joined.body), "a member already");
    let owner = post(&bench.app, "ada", &path, None, "").await;
    assert_eq!((owner.status, &owner.body["role"]), (200, &json!("owner")));
    assert_eq!(bench.db.int("SELECT count(*) FROM community_members").await, 2);

    for (path, body, status) in [
        (format!("/communities/{}/join", Uuid::now_v7()), "", 404),
        ("/communities/none/join".into(), "", 404),
        // What doesn't exist is said first.
        ("/communities/none/join".into(), "{", 404),
        (path.clone(), "{", 400),
        (path.clone(), r#"{"role": "owner"}"#, 422),
        (path.clone(), "[]", 422),
    ] {
        let refused = post(&bench.app, "bob", &path, None, body).await;
        assert_eq!(refused.problem().0, status, "{path} {body}: {refused:?}");
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM community_members").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_many_times_at_once() {
    let (bench, app) = crowded().await;
    let made = create(&app, "ada", None, &json!({ "name": "Coffee" })).await;
    let path = format!("/communities/{}/join", made.body["community_id"].as_str().unwrap());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (app, path) = (app.clone(), path.clone());
        calls.spawn(async move { post(&app, "bob", &path, None, "").await });
    }
    let answers = calls.join_all().await;
    let made = answers.iter().filter(|said| said.status == 201).count();
    assert_eq!(made, 1, "{answers:?}");
    assert!(answers.iter().all(|said| said.status <= 201 && said.body == answers[0].body), "{answers:?}");
    assert_eq!(bench.db.int("SELECT count(*) FROM community_members").await, 2);
}

/// Buffers that the creating statement reads; it reads no table from end to end. Nothing is kept.
async fn cost(db: &TestDb, owner: Uuid, base: &str) -> u64 {
    let client = db.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let (id, subscription) = (Uuid::now_v7(), Uuid::now_v7());
    let params: &[(&(dyn ToSql + Sync), Type)] = &[
        (&id, Type::UUID),
        (&owner, Type::UUID),
        (&base, Type::TEXT),
        (&base, Type::TEXT),
        (&0i32, Type::INT4),
        (&base, Type::TEXT),
        (&None::<String>, Type::TEXT),
        (&subscription, Type::UUID),
    ];
    let explain =
        format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {}", sql::COMMUNITIES_CREATE.sql);
    let mut touched = 0;
    // The first run fills the caches of the catalogue and plans.
    for _ in 0..2 {
        client.batch_execute("SAVEPOINT s").await.unwrap();
        let row = client.query_typed_one(&explain, params).await.unwrap();
        let plan = row.get::<_, Value>(0);
        client.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
        let read = |name: &str| plan[0]["Plan"][name].as_u64().unwrap();
        touched = read("Shared Hit Blocks") + read("Shared Read Blocks");
    }
    let scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'communities'";
    assert_eq!(rows(&client, scans).await, vec![vec![Some("0".to_owned())]], "read from end to end");
    touched
}

/// However many communities have the name, and however many others stand in the way of the next address: look-ups in
/// indexes. Counted in buffers, since time on a busy machine says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_suffix_is_found_by_look_ups() {
    let bench = Bench::new().await;
    let owner = bench.actor.user.0;
    let fill = |base: &str, from: u32, to: u32| {
        format!(
            "INSERT INTO communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             SELECT gen_random_uuid(), '{owner}', '{base}', n, '{base}' || CASE WHEN n = 0 THEN '' ELSE '-' || n END, 'x'
               FROM generate_series({from}, {to}) n;"
        )
    };
    // The same table for both: only how many share the base differs.
    bench.db.exec(&fill("one", 0, 0)).await;
    bench.db.exec(&fill("many", 0, 9_999)).await;
    bench.db.exec("ANALYZE communities").await;
    let one = cost(&bench.db, owner, "one").await;
    let many = cost(&bench.db, owner, "many").await;
    assert!(many * 2 <= one * 3, "{many} buffers with 10,000 taken, {one} with 1");

    // Communities really called "way 1" ... "way 100" are in the way of the second "way".
    bench.db.exec(&fill("way", 0, 0)).await;
    for n in 1..=100 {
        bench.db.exec(&fill(&format!("way-{n}"), 0, 0)).await;
    }
    bench.db.exec("ANALYZE communities").await;
    let skipping = cost(&bench.db, owner, "way").await;
    assert!(skipping <= one + 100 * 5, "{skipping} buffers to pass 100, {one} to pass none");
    assert_eq!(address(&bench.app, "Way").await, "way-101");
}
