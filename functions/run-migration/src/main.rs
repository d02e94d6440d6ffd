#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::edge::serve_http(run_migration::handle).await
}
