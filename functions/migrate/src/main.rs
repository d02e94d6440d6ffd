#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::edge::serve_step(1, migrate::handle).await
}
