//! Serves `import-jobs` over HTTP.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::http::serve_http(import_jobs::handle).await
}
