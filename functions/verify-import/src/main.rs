#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::edge::serve_step(2, verify_import::handle).await
}
