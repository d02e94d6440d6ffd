//! `POST /communities/{id}/join`: the caller becomes a member. Who is one already gets the membership that there is.

use lambda_http::http::StatusCode;
use lambda_http::{Request, RequestExt};
use serde_json::Value;
use shared::db::communities;
use shared::db::pool::client;
use shared::domain::ids::CommunityId;
use shared::edge::http::{Answer, Problem, body, caller, json};
use shared::edge::{App, Done, once};
use uuid::Uuid;

/// The handler. Order of checks: 401, 404, 400/422, idempotency, work.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = caller(&app, &request).await?;
    let community = community_id(request.raw_http_path()).ok_or_else(Problem::not_found)?;
    let connection = app.db.connection().await?;
    if !communities::exists(client(&connection), community).await? {
        return Err(Problem::not_found());
    }
    drop(connection);
    nothing_in(&request)?;
    once(&app, &caller, async |tx| {
        let membership = communities::join(tx.client(), community, caller.user).await?;
        let status = if membership.new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Done::from(json(status, &membership)?))
    })
    .await
}

/// What is no id is the id of nothing.
fn community_id(path: &str) -> Option<CommunityId> {
    let mut segments = path.trim_matches('/').split('/');
    let id = segments.nth(1)?;
    Uuid::try_parse(id).map(CommunityId).ok()
}

/// The path says it all: no body, or an empty object.
fn nothing_in(request: &Request) -> Result<(), Problem> {
    if request.body().is_empty() {
        return Ok(());
    }
    match body::<Value>(request)?.as_object() {
        Some(members) if members.is_empty() => Ok(()),
        _ => Err(Problem::unprocessable("", "The body must be empty, or an empty object.")),
    }
}
