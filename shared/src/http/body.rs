//! Bodies of requests: JSON that fits, or a problem that names the member at fault.

use super::problem::Problem;
use crate::domain::actor::Actor;
use crate::domain::ids::MerchantId;
use crate::domain::json;
use lambda_http::Request;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use uuid::Uuid;

/// The body as JSON: 400 where it is none or names a member twice, 422 with a pointer where it doesn't fit.
pub fn read_body<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    deserialize(read_object(request)?)
}

/// The body of a request about a merchant, its member `merchant_id`. 404 unless the caller belongs to it, before
/// anything else is said about the request.
pub fn read_body_of_member<T: DeserializeOwned>(request: &Request, actor: &Actor) -> Result<T, Problem> {
    let members = read_object(request)?;
    let merchant = members.get("merchant_id").and_then(Value::as_str);
    let merchant = merchant.and_then(|id| Uuid::try_parse(id).ok()).map(MerchantId);
    if merchant.is_some_and(|merchant| !actor.merchants.contains(&merchant)) {
        return Err(Problem::not_found());
    }
    deserialize(members)
}

/// The body's members by name: serde would also take them in order from an array. A text among them may hold U+0000.
pub fn read_object(request: &Request) -> Result<Map<String, Value>, Problem> {
    let value = json::parse(request.body())
        .map_err(|error| Problem::bad_request(format!("The body is refused: {error}.")))?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Problem::unprocessable("", "The body is not a JSON object.")),
    }
}

fn deserialize<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    let body = Value::Object(members);
    if let Some(pointer) = json::find_nul(&body) {
        return Err(Problem::unprocessable(
            &pointer,
            "It holds the character U+0000, which can't be stored.",
        ));
    }
    serde_path_to_error::deserialize(body)
        .map_err(|error| Problem::unprocessable(&pointer(error.path()), error.inner().to_string()))
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    };
    path.iter().map(|segment| format!("/{}", json::escape_pointer(&part(segment)))).collect()
}
