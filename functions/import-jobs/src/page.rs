//! Pages of a list: how many entries a request asks for, after which one, and what else its query may hold.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::{Request, RequestExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::http::Problem;

/// The largest page.
pub(crate) const MAX_LIMIT: i64 = 100;

/// Refuses parameters that the list does not know, or that stand there twice.
pub(crate) fn check_parameters(request: &Request, known: &[&str]) -> Result<(), Problem> {
    let query = request.query_string_parameters();
    if let Some(name) = known.iter().find(|name| query.all(name).is_some_and(|values| values.len() > 1)) {
        return Err(Problem::bad_request(format!("The filter `{name}` stands there twice; keep one.")));
    }
    match query.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(Problem::unprocessable(
            &format!("/{name}"),
            format!("There is no filter `{name}`; filters are {}.", known.join(", ")),
        )),
        None => Ok(()),
    }
}

/// How many entries the page may have.
pub(crate) fn read_limit(request: &Request, default: i64) -> Result<i64, Problem> {
    let query = request.query_string_parameters();
    let Some(limit) = query.first("limit") else { return Ok(default) };
    let limit = limit.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit
        .ok_or_else(|| Problem::unprocessable("/limit", format!("It is not a number from 1 to {MAX_LIMIT}.")))
}

/// The last entry of the page before, if there is one.
pub(crate) fn read_cursor<T: DeserializeOwned>(request: &Request) -> Result<Option<T>, Problem> {
    let query = request.query_string_parameters();
    let Some(cursor) = query.first("cursor") else { return Ok(None) };
    let position = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
    position.map(Some).ok_or_else(no_cursor)
}

/// 422: what the request gives as `cursor` is none.
pub(crate) fn no_cursor() -> Problem {
    Problem::unprocessable("/cursor", "It is not a cursor of this API.")
}

/// The cursor of the page behind this entry.
pub(crate) fn write_cursor<T: Serialize>(position: &T) -> Result<String, Problem> {
    let json = serde_json::to_vec(position).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// The first entries that have so many bytes together as JSON, and one at least.
pub(crate) fn fit<T: Serialize>(entries: impl Iterator<Item = T>, max_bytes: usize) -> Vec<Value> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        let shown = json!(entry);
        bytes += shown.to_string().len() + 1;
        if bytes > max_bytes && !page.is_empty() {
            break;
        }
        page.push(shown);
    }
    page
}
