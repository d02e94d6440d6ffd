//! The person behind a request, and the key that it comes with.

use super::problem::Problem;
use crate::db::idempotency_keys::{Keyed, Stored};
use crate::db::users::{self, TokenClaims};
use crate::domain::actor::Actor;
use crate::domain::idempotency::IdempotencyKey;
use crate::lambda::App;
use lambda_http::http::HeaderValue;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use sha2::{Digest, Sha256};
use std::ops::Deref;

/// The gateway's id of the request.
pub(super) fn request_id(request: &Request) -> String {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

/// The claims that the gateway's authorizer has checked. 401 for an access token: it is issued to an application, and says
/// nothing about the user's address. Cognito tells its two kinds apart by `token_use`; other issuers' tokens have no such claim.
pub fn token_claims(request: &Request) -> Result<TokenClaims, Problem> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Err(Problem::unauthorized());
    };
    let claims = context
        .authorizer
        .as_ref()
        .and_then(|authorizer| authorizer.jwt.as_ref())
        .map(|jwt| &jwt.claims)
        .ok_or_else(Problem::unauthorized)?;
    if claims.get("token_use").is_some_and(|token_use| token_use != "id") {
        return Err(Problem::unauthorized());
    }
    let subject = claims
        .get("sub")
        .filter(|subject| (1..=255).contains(&subject.len()))
        .ok_or_else(Problem::unauthorized)?;
    Ok(TokenClaims {
        subject: subject.clone(),
        email: claims.get("email").cloned(),
        email_verified: claims.get("email_verified").map(|verified| verified == "true"),
    })
}

/// Who is calling, and what `once` needs to know of their request.
#[derive(Debug)]
pub struct Caller {
    actor: Actor,
    /// The request's key. What is wrong with it is said by `once`, after what is wrong with the request itself.
    pub(super) keyed: Result<Option<Keyed>, Problem>,
    /// The stored answer, if they have asked the very same before.
    pub(super) answered: Option<Stored>,
}

impl Deref for Caller {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

/// Who is calling, the merchants they belong to, and the stored answer if they have asked the very same before.
pub async fn identify_caller(app: &App, request: &Request) -> Result<Caller, Problem> {
    let claims = token_claims(request)?;
    let keyed = read_key(request);
    let (actor, answered) =
        users::identify(&app.db, &claims, keyed.as_ref().ok().and_then(Option::as_ref)).await?;
    Ok(Caller { actor, keyed, answered })
}

/// The request's key, if it has one, and what it comes with.
fn read_key(request: &Request) -> Result<Option<Keyed>, Problem> {
    let headers = request.headers().get_all("idempotency-key").iter();
    let lines: Vec<&[u8]> = headers.map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    // As the gateway joins them.
    let key = IdempotencyKey::parse(&lines.join(&b", "[..]))
        .map_err(|error| Problem::bad_request(format!("{error}.")))?;
    Ok(Some(Keyed { key, fingerprint: fingerprint(request) }))
}

/// SHA-256 of (method, path, raw body), each with its length.
fn fingerprint(request: &Request) -> [u8; 32] {
    let mut hash = Sha256::new();
    let parts: [&[u8]; 3] =
        [request.method().as_str().as_bytes(), request.raw_http_path().as_bytes(), request.body()];
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
