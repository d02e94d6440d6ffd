//! Serves `verify-import`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(verify_import::CONNECTIONS, verify_import::handle).await
}
