//! Serves `join-community` over HTTP.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::http::serve_http(join_community::handle).await
}
