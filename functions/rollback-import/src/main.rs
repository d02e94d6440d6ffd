//! Serves `rollback-import`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(rollback_import::CONNECTIONS, rollback_import::handle).await
}
