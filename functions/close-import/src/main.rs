//! Serves `close-import`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(close_import::CONNECTIONS, close_import::handle).await
}
