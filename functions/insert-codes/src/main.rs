//! Serves `insert-codes`. Two connections: one inserts, the other sorts the next chunk ahead and reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, insert_codes::handle).await
}
