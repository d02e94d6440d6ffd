//! Creating a community: its rows, its address, and warnings for tags and images.

use lambda_http::request::RequestContext;
use onceload_tests::communities::{create, post};
use onceload_tests::concurrency::all_at_once;
use onceload_tests::db::rows;
use onceload_tests::http::{receive, request};
use onceload_tests::{TestDb, World};
use serde_json::{Value, json};
use shared::db::STATEMENTS;
use shared::lambda::App;
use std::collections::BTreeSet;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// Creates a community and returns its address.
async fn create_address(app: &App, name: &str) -> String {
    let made = create(app, "ada", None, &json!({ "name": name })).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["unique_url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_a_community_adds_its_owner_and_a_free_subscription() {
    let world = World::new().await;
    let body = json!({
        "name": " Coffee Lovers ", "description": "Beans.", "tags": ["coffee", "Filter", "COFFEE"],
        "images": ["https://img.example/b.png", "https://img.example/a.png"],
    });
    let made = create(&world.app, "ada", None, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["community_id"].as_str().unwrap();
    assert_eq!(made.header("location"), Some(format!("/communities/{id}").as_str()));
    assert_eq!(made.header("content-type"), Some("application/json"));
    assert_eq!(made.header("idempotent-replayed"), None);
    let owner = world.db.value("SELECT id FROM onceload.users WHERE subject = 'ada'").await;
    let created_at = world.db.value("SELECT to_json(created_at) #>> '{}' FROM onceload.communities").await;
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
    let members = world.db.rows("SELECT community_id, user_id, role FROM onceload.community_members").await;
    assert_eq!(members, [[id, &owner, "owner"]]);
    let subscriptions =
        world.db.rows("SELECT community_id, user_id, plan, status FROM onceload.subscriptions").await;
    assert_eq!(subscriptions, [[id, &owner, "free", "active"]]);
    let tags = world.db.column("SELECT tag FROM onceload.community_tags ORDER BY tag COLLATE \"C\"").await;
    assert_eq!(tags, ["Filter", "coffee"]);
    let images = world.db.column("SELECT url FROM onceload.community_images ORDER BY position").await;
    assert_eq!(images, ["https://img.example/b.png", "https://img.example/a.png"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn colliding_names_get_numbered_addresses() {
    let world = World::new().await;
    for (name, expected) in [
        ("Café Zoë", "cafe-zoe"),
        ("CAFE ZOE!", "cafe-zoe-1"),
        ("Admin", "admin-1"),
        ("admin", "admin-2"),
        ("???", "community"),
        ("!", "community-1"),
        ("Community", "community-2"),
        // "a 1" and "a 2" take the addresses that the second and third "a" would get.
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
        assert_eq!(create_address(&world.app, name).await, expected, "{name}");
    }
    let long = "x".repeat(100);
    assert_eq!(create_address(&world.app, &long).await, "x".repeat(50));
    assert_eq!(create_address(&world.app, &long).await, format!("{}-1", "x".repeat(50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_communities_of_one_name_get_distinct_addresses() {
    let world = World::new().await;
    let app = world.app_with_pool(64);
    let calls = (0..64).map(|i| {
        let app = app.clone();
        // One user sends half of them, each with a key of its own.
        let subject = if i % 2 == 0 { "ada".to_owned() } else { format!("user-{i}") };
        async move { create(&app, &subject, Some(&format!("key-{i}")), &json!({ "name": "Coffee" })).await }
    });
    let mut found = BTreeSet::new();
    for made in all_at_once(calls).await {
        assert_eq!((made.status, made.header("idempotent-replayed")), (201, None), "{made:?}");
        found.insert(made.body["unique_url"].as_str().unwrap().to_owned());
    }
    let expected: BTreeSet<String> = std::iter::once("coffee".to_owned())
        .chain((1..64).map(|suffix| format!("coffee-{suffix}")))
        .collect();
    assert_eq!(found, expected);
    let counts =
        "SELECT (SELECT count(*) FROM onceload.communities) || ' ' || (SELECT count(*) FROM onceload.community_members)
                      || ' ' || (SELECT count(*) FROM onceload.subscriptions)";
    assert_eq!(world.db.value(counts).await, "64 64 64");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_names_with_colliding_addresses_get_distinct_ones() {
    let world = World::new().await;
    let app = world.app_with_pool(64);
    let calls = (0..60).map(|i| {
        let app = app.clone();
        let name = ["b", "b 1", "b 1 1"][i % 3];
        async move { create(&app, &format!("user-{}", i % 8), None, &json!({ "name": name })).await }
    });
    let mut found = BTreeSet::new();
    for made in all_at_once(calls).await {
        assert_eq!(made.status, 201, "{made:?}");
        let address = made.body["unique_url"].as_str().unwrap().to_owned();
        assert!(found.insert(address), "{made:?}");
    }
}

/// The other writer doesn't take our lock. The unique index still prevents a second row, and the next suffix is tried.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_taken_by_another_writer_gets_the_next_suffix() {
    let world = World::new().await;
    let foreign = world.db.connect().await;
    let (user, id) = (world.actor.user, Uuid::now_v7());
    foreign
        .batch_execute(&format!(
            "BEGIN; INSERT INTO onceload.communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             VALUES ('{id}', '{user}', 'c', 0, 'c', 'c')"
        ))
        .await
        .unwrap();
    let app = world.app.clone();
    let waiting = tokio::spawn(async move { create_address(&app, "C").await });
    world.db.wait_for_blocked("communities.create").await;
    foreign.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap(), "c-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tags_and_images_are_warnings() {
    let world = World::new().await;
    let body = json!({
        "name": "Soft", "tags": ["fine", "x".repeat(60), " "],
        "images": ["http://img.example/a.png", "https://img.example/b.png"],
    });
    let made = create(&world.app, "ada", None, &body).await;
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

/// If a constraint refuses tags or images, only that kind is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn tags_or_images_that_the_database_refuses_do_not_fail_the_request() {
    let world = World::new().await;
    world
        .db
        .exec(
            "ALTER TABLE onceload.community_tags ADD CONSTRAINT no_bad_words CHECK (tag <> 'forbidden');
             ALTER TABLE onceload.community_images ADD CONSTRAINT one_host CHECK (url LIKE 'https://img.example/%')",
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
        let made = create(&world.app, "ada", Some(name), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(json!([made.body["tags"], made.body["images"]]), kept, "{made:?}");
        let warnings = made.body["warnings"].as_array().unwrap();
        let pointers: Vec<&Value> = warnings.iter().map(|warning| &warning["pointer"]).collect();
        assert_eq!(json!(pointers), warned, "{made:?}");
        assert!(!made.body.to_string().contains("no_bad_words"), "nothing internal: {made:?}");
        let again = create(&world.app, "ada", Some(name), &body).await;
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &made.body));
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities").await, 3);
    assert_eq!(world.db.column("SELECT tag FROM onceload.community_tags").await, ["fine"]);
    assert_eq!(world.db.column("SELECT url FROM onceload.community_images").await, images);
}

/// Refused data is a warning; any other failure of the database fails the request and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_failure_creates_nothing() {
    let world = World::new().await;
    world.db.exec("ALTER TABLE onceload.community_images RENAME TO gone").await;
    let body = json!({ "name": "Hard", "tags": ["a"], "images": ["https://a.b"] });
    let failed = create(&world.app, "ada", Some("k"), &body).await;
    assert_eq!(failed.problem().0, 500, "{failed:?}");
    assert!(!failed.body.to_string().contains("community_images"), "{failed:?}");
    for table in ["communities", "community_members", "subscriptions", "community_tags", "idempotency_keys"] {
        assert_eq!(world.db.int(&format!("SELECT count(*) FROM onceload.{table}")).await, 0, "{table}");
    }
    world.db.exec("ALTER TABLE onceload.gone RENAME TO community_images").await;
    let made = create(&world.app, "ada", Some("k"), &body).await;
    assert_eq!((made.status, made.header("idempotent-replayed")), (201, None), "the same key: {made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_names_every_bad_field() {
    let world = World::new().await;
    let body = json!({ "name": " ", "description": 7, "tags": ["a", 1], "images": "x", "colour": "red" });
    let refused = create(&world.app, "ada", None, &body).await;
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
        let refused = post(&world.app, "ada", "/communities", None, body).await;
        assert_eq!(refused.problem(), problem, "{body}");
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_verified_email_is_refused() {
    let world = World::new().await;
    let body = r#"{"name": "Coffee"}"#;
    let nobody = receive(
        create_community::handle(world.app.clone(), request("POST", "/communities", None, body)).await,
    );
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
        let refused = receive(create_community::handle(world.app.clone(), request).await);
        assert_eq!(refused.problem().0, 403, "{unverified:?}: {refused:?}");
        assert_eq!(refused.body["type"], "urn:onceload:problem:email-not-verified");
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities").await, 0);
}

/// The buffers that the creating statement reads. It must not scan a table. Everything is rolled back.
async fn count_buffers(db: &TestDb, owner: Uuid, base: &str) -> u64 {
    let client = db.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let (id, subscription) = (Uuid::now_v7(), Uuid::now_v7());
    let params: &[(&(dyn ToSql + Sync), Type)] = &[
        (&id, Type::UUID),
        (&owner, Type::UUID),
        (&base, Type::TEXT),
        (&0i32, Type::INT4),
        (&base, Type::TEXT),
        (&None::<String>, Type::TEXT),
        (&subscription, Type::UUID),
    ];
    let create = STATEMENTS.into_iter().flatten().find(|statement| statement.name == "communities.create");
    let explain =
        format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {}", create.expect("the statement").sql);
    let mut touched = 0;
    // The first run fills the catalogue and plan caches.
    for _ in 0..2 {
        client.batch_execute("SAVEPOINT s").await.unwrap();
        let row = client.query_typed_one(&explain, params).await.unwrap();
        let plan = row.get::<_, Value>(0);
        client.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
        let read = |name: &str| plan[0]["Plan"][name].as_u64().unwrap();
        touched = read("Shared Hit Blocks") + read("Shared Read Blocks");
    }
    let scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'communities'";
    assert_eq!(rows(&client, scans).await, [["0"]], "the statement scanned the table");
    touched
}

/// The next suffix costs index lookups, however many communities share the name or hold the next addresses. The test
/// counts buffers, since the time on a busy machine says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_suffix_is_found_by_index_lookups() {
    let world = World::new().await;
    let owner = world.actor.user.0;
    let fill = |base: &str, from: u32, to: u32| {
        format!(
            "INSERT INTO onceload.communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             SELECT gen_random_uuid(), '{owner}', '{base}', n, '{base}' || CASE WHEN n = 0 THEN '' ELSE '-' || n END, 'x'
               FROM generate_series({from}, {to}) n;"
        )
    };
    // Both run on one table; only the number of communities with the same base differs.
    world.db.exec(&fill("one", 0, 0)).await;
    world.db.exec(&fill("many", 0, 9_999)).await;
    world.db.exec("ANALYZE onceload.communities").await;
    let one = count_buffers(&world.db, owner, "one").await;
    let many = count_buffers(&world.db, owner, "many").await;
    assert!(many * 2 <= one * 3, "{many} buffers with 10,000 taken, {one} with 1");

    // Communities named "way 1" ... "way 100" hold the next addresses of the second "way".
    world.db.exec(&fill("way", 0, 0)).await;
    for n in 1..=100 {
        world.db.exec(&fill(&format!("way-{n}"), 0, 0)).await;
    }
    world.db.exec("ANALYZE onceload.communities").await;
    let skipping = count_buffers(&world.db, owner, "way").await;
    assert!(skipping <= one + 100 * 5, "{skipping} buffers to pass 100, {one} to pass none");
    assert_eq!(create_address(&world.app, "Way").await, "way-101");
}
