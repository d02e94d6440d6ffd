//! `POST /communities`: creates a community with its owner's membership and subscription.

mod create;
mod request;
mod slug;

use create::{Community, create};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, LOCATION};
use request::NewCommunity;
use serde_json::Value;
use shared::http::{Answer, Done, Problem, identify_caller, json_answer, once, read_object, token_claims};
use shared::lambda::App;

/// The handler. Order of checks: 401, 403, 400/422, idempotency, work.
pub async fn handle(app: App, request: Request) -> Answer {
    if token_claims(&request)?.email_verified != Some(true) {
        return Err(email_not_verified());
    }
    let caller = identify_caller(&app, &request).await?;
    let body = Value::Object(read_object(&request)?);
    let new = NewCommunity::read(&body).map_err(|wrong| Problem::invalid(&wrong))?;
    once(&app, &caller, async |tx| {
        let community = create(tx, caller.user, new).await?;
        Ok(Done::from(created(&community)?))
    })
    .await
}

/// 201, with the place of the new community.
fn created(community: &Community) -> Answer {
    let mut response = json_answer(StatusCode::CREATED, community)?;
    if let Ok(location) = HeaderValue::from_str(&format!("/communities/{}", community.community_id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn email_not_verified() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "email-not-verified",
        "E-mail not verified",
        "Confirm your e-mail address and sign in again. Then create the community.",
    )
}
