//! Serves `verify-import`. Three connections: one counts, one vacuums, one beats.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(3, verify_import::handle).await
}
