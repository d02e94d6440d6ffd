//! Joining a community: one membership per user, however often and concurrently it is requested.

use onceload_tests::World;
use onceload_tests::communities::{create, post};
use onceload_tests::concurrency::all_at_once;
use serde_json::json;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_joins_a_community_once() {
    let world = World::new().await;
    let made = create(&world.app, "ada", None, &json!({ "name": "Coffee" })).await;
    let id = made.body["community_id"].as_str().unwrap();
    let path = format!("/communities/{id}/join");
    let joined = post(&world.app, "bob", &path, Some("k"), "").await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let bob = world.db.value("SELECT id FROM onceload.users WHERE subject = 'bob'").await;
    let joined_at = &joined.body["joined_at"];
    assert_eq!(
        joined.body,
        json!({ "community_id": id, "user_id": bob, "role": "member", "joined_at": joined_at })
    );
    assert!(joined_at.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok());
    let replayed = post(&world.app, "bob", &path, Some("k"), "").await;
    assert_eq!((replayed.status, &replayed.body), (201, &joined.body));
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    let again = post(&world.app, "bob", &path, None, "{}").await;
    assert_eq!((again.status, &again.body), (200, &joined.body), "the user is a member already");
    let owner = post(&world.app, "ada", &path, None, "").await;
    assert_eq!((owner.status, &owner.body["role"]), (200, &json!("owner")));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.community_members").await, 2);

    for (path, body, status) in [
        (format!("/communities/{}/join", Uuid::now_v7()), "", 404),
        ("/communities/none/join".into(), "", 404),
        // An unknown community is 404 even if the body is invalid.
        ("/communities/none/join".into(), "{", 404),
        (path.clone(), "{", 400),
        (path.clone(), r#"{"role": "owner"}"#, 422),
        (path.clone(), "[]", 422),
    ] {
        let refused = post(&world.app, "bob", &path, None, body).await;
        assert_eq!(refused.problem().0, status, "{path} {body}: {refused:?}");
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.community_members").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_joins_of_one_user_add_one_member() {
    let world = World::new().await;
    let app = world.app_with_pool(64);
    let made = create(&app, "ada", None, &json!({ "name": "Coffee" })).await;
    let path = format!("/communities/{}/join", made.body["community_id"].as_str().unwrap());
    let calls = (0..32).map(|_| {
        let (app, path) = (app.clone(), path.clone());
        async move { post(&app, "bob", &path, None, "").await }
    });
    let answers = all_at_once(calls).await;
    let made = answers.iter().filter(|response| response.status == 201).count();
    assert_eq!(made, 1, "{answers:?}");
    assert!(
        answers.iter().all(|response| response.status <= 201 && response.body == answers[0].body),
        "{answers:?}"
    );
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.community_members").await, 2);
}
