//! Serves `create-community` over HTTP.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::http::serve_http(create_community::handle).await
}
