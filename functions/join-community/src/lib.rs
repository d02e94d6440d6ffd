//! `POST /communities/{id}/join`: makes the caller a member. A member gets the membership that they have.

use lambda_http::http::StatusCode;
use lambda_http::{Request, RequestExt};
use serde_json::Value;
use shared::db::communities;
use shared::domain::ids::CommunityId;
use shared::http::{Answer, Done, Problem, identify_caller, json_answer, once, read_body};
use shared::lambda::App;
use uuid::Uuid;

/// The handler. Order of checks: 401, 404, 400/422, idempotency, work. 201 if the caller joined now, 200 if they were a
/// member.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = identify_caller(&app, &request).await?;
    let community = read_community_id(request.raw_http_path()).ok_or_else(Problem::not_found)?;
    let connection = app.db.connection().await?;
    if !communities::exists(&connection, community).await? {
        return Err(Problem::not_found());
    }
    drop(connection);
    expect_no_body(&request)?;
    once(&app, &caller, async |tx| {
        let membership = communities::join(tx, community, caller.user).await?;
        let status = if membership.new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Done::from(json_answer(status, &membership)?))
    })
    .await
}

/// A malformed id can't name a community, so it is 404, not 400.
fn read_community_id(path: &str) -> Option<CommunityId> {
    let mut segments = path.trim_matches('/').split('/');
    let id = segments.nth(1)?;
    Uuid::try_parse(id).map(CommunityId).ok()
}

/// The path says everything: the body is empty, or an empty object.
fn expect_no_body(request: &Request) -> Result<(), Problem> {
    if request.body().is_empty() {
        return Ok(());
    }
    match read_body::<Value>(request)?.as_object() {
        Some(members) if members.is_empty() => Ok(()),
        _ => Err(Problem::unprocessable("", "The body must be empty, or an empty object.")),
    }
}
