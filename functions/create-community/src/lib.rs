//! `POST /communities`: a community, its owner's membership and subscription.

use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, LOCATION};
use serde_json::Value;
use shared::db::communities;
use shared::domain::community::NewCommunity;
use shared::edge::http::{Answer, Problem, body, caller, claims, json};
use shared::edge::{App, Done, once};

/// The handler. Order of checks: 401, 403, 400/422, idempotency, work.
pub async fn handle(app: App, request: Request) -> Answer {
    if !claims(&request)?.email_verified {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "email-not-verified",
            "E-mail not verified",
            "Confirm your e-mail address, sign in again, and then make a community.",
        ));
    }
    let caller = caller(&app, &request).await?;
    let new = NewCommunity::read(&body::<Value>(&request)?).map_err(|wrong| Problem::invalid(&wrong))?;
    once(&app, &caller, async |tx| {
        let community = communities::create(tx, caller.user, &new).await?;
        let mut response = json(StatusCode::CREATED, &community)?;
        if let Ok(location) = HeaderValue::from_str(&format!("/communities/{}", community.community_id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(Done::from(response))
    })
    .await
}
