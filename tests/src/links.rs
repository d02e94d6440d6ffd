//! Uploads through signed links.

use serde_json::Value;

/// PUTs to a link, with the condition if it is signed for one, and returns the status and the etag.
pub async fn put(url: &Value, bytes: Vec<u8>) -> (u16, String) {
    let url = url.as_str().expect("a link").to_owned();
    let put = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request = ureq::Agent::from(config).put(&url);
        if url.contains("if-none-match") {
            request = request.header("if-none-match", "*");
        }
        let answer = request.send(&bytes[..]).expect("an answer of S3");
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap_or_default().to_owned());
        (answer.status().as_u16(), etag.unwrap_or_default())
    };
    tokio::task::spawn_blocking(put).await.expect("a PUT")
}
