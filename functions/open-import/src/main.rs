#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::edge::serve_step(1, open_import::handle).await
}
