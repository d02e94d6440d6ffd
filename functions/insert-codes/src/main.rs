//! Serves `insert-codes`. Two connections: one inserts, the other reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, insert_codes::handle).await
}
