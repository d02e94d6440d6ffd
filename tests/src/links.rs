//! Uploads through signed links.

use serde_json::Value;

/// PUTs to a link and returns the status and the etag.
pub async fn put(url: &Value, bytes: Vec<u8>) -> (u16, String) {
    let url = url.as_str().expect("a link").to_owned();
    let put = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let answer = ureq::Agent::from(config).put(&url).send(&bytes[..]).expect("an answer of S3");
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap_or_default().to_owned());
        (answer.status().as_u16(), etag.unwrap_or_default())
    };
    tokio::task::spawn_blocking(put).await.expect("a PUT")
}
