//! Names a run: two requests of one user with the same mapping and content are the same run.

use serde_json::json;
use shared::domain::field::canonical;
use shared::domain::ids::UserId;
use shared::domain::object::FrozenObject;
use shared::domain::source::Source;
use shared::source::resolve::{hex, sha256};

/// Hashes user, merchant, mapping and content, without a time. The mapping is taken as headers are matched. The content is
/// S3's checksum of the whole object if it has one, else its ETag, and its size.
pub(crate) fn of_run(user: UserId, source: &Source, object: &FrozenObject, checksum: Option<&str>) -> String {
    let content = json!([checksum.unwrap_or(&object.etag), object.bytes]);
    hex(&sha256(json!([user, source.merchant, canonical(&source.mapping), content]).to_string().as_bytes()))
}
