//! Serves `insert-codes`. Three connections: one inserts, one sorts the next chunk ahead, one reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(3, insert_codes::handle).await
}
