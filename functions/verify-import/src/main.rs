//! Serves `verify-import`. Two connections: one counts, the other beats.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, verify_import::handle).await
}
