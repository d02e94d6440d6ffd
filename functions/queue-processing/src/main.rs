//! Serves `queue-processing` over HTTP.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::http::serve_http(queue_processing::handle).await
}
