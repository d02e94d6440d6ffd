//! Serves `insert-codes`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(insert_codes::CONNECTIONS, insert_codes::handle).await
}
