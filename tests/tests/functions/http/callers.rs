//! Who is calling: what a token says of its bearer, and what a header says that was sent twice.

use lambda_http::Request;
use lambda_http::request::RequestContext;
use onceload_tests::World;
use onceload_tests::communities::create;
use onceload_tests::http::{Response, receive, request, with_key};
use serde_json::json;

/// A request of Ada's whose token has these claims besides its `sub`.
fn with_claims(claims: &[(&str, &str)]) -> Request {
    let mut request = request("GET", "/imports", Some("ada"), "");
    let Some(RequestContext::ApiGatewayV2(context)) = request.extensions_mut().get_mut() else {
        panic!("the gateway's context")
    };
    let token = &mut context.authorizer.as_mut().unwrap().jwt.as_mut().unwrap().claims;
    token.retain(|name, _| name == "sub");
    token.extend(claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    request
}

async fn send(world: &World, request: Request) -> Response {
    receive(import_jobs::handle(world.app.clone(), request).await)
}

async fn read_user(world: &World) -> String {
    let sql =
        "SELECT coalesce(email, '-') || ' ' || email_verified FROM onceload.users WHERE subject = 'ada'";
    world.db.value(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_no_id_token() {
    let world = World::new().await;
    for token_use in ["access", "refresh", "", "ID"] {
        let refused = send(&world, with_claims(&[("token_use", token_use), ("client_id", "c")])).await;
        assert_eq!(refused.problem().0, 401, "{token_use}: {refused:?}");
    }
    let made = "SELECT count(*) FROM onceload.users WHERE subject = 'ada'";
    assert_eq!(world.db.int(made).await, 0, "a refused token makes no user");
    let id = with_claims(&[("token_use", "id"), ("email", "ada@example.com"), ("email_verified", "true")]);
    assert_eq!(send(&world, id).await.status, 200);
    assert_eq!(read_user(&world).await, "ada@example.com true");
    // An issuer other than Cognito has no such claim.
    assert_eq!(send(&world, with_claims(&[("email", "ada@example.com")])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_claim_erases_nothing() {
    let world = World::new().await;
    for (claims, expected) in [
        (&[][..], "- false"),
        (&[("email", "a@x.example")], "a@x.example false"),
        (&[("email", "a@x.example"), ("email_verified", "true")], "a@x.example true"),
        (&[], "a@x.example true"),
        (&[("email", "a@x.example")], "a@x.example true"),
        (&[("email_verified", "false")], "a@x.example false"),
        (&[("email_verified", "true")], "a@x.example true"),
        // Nobody has verified the new address yet.
        (&[("email", "b@x.example")], "b@x.example false"),
    ] {
        assert_eq!(send(&world, with_claims(claims)).await.status, 200);
        assert_eq!(read_user(&world).await, expected, "{claims:?}");
    }
}

/// The gateway joins the lines of a header with commas; other servers pass them on.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_sent_twice_is_the_key_sent_once() {
    let world = World::new().await;
    let coffee = json!({ "name": "Coffee" });
    let first = create(&world.app, "ada", Some("k, k"), &coffee).await;
    let again = create(&world.app, "ada", Some("k"), &coffee).await;
    assert_eq!((first.status, again.header("idempotent-replayed")), (201, Some("true")), "{again:?}");
    let two_lines = |second: &str| {
        let request = request("POST", "/communities", Some("ada"), &coffee.to_string());
        let mut request = with_key(request, "k");
        request.headers_mut().append("idempotency-key", second.parse().unwrap());
        request
    };
    let twice = receive(create_community::handle(world.app.clone(), two_lines("\"k\"")).await);
    assert_eq!((twice.status, &twice.body), (201, &first.body));
    for refused in [
        create(&world.app, "ada", Some("k, l"), &coffee).await,
        receive(create_community::handle(world.app.clone(), two_lines("l")).await),
    ] {
        assert_eq!(refused.problem().0, 400, "{refused:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains("more than one Idempotency-Key"));
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities").await, 1);
}
