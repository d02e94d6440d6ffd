//! Serves `run-migration` over HTTP.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::http::serve_http(run_migration::handle).await
}
