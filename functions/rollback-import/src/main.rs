//! Serves `rollback-import`. Two connections: one deletes, the other reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, rollback_import::handle).await
}
