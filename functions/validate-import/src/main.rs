//! Serves `validate-import`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(validate_import::CONNECTIONS, validate_import::handle).await
}
