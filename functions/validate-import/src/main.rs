//! Serves `validate-import`. Two connections: each looks at half of the chunks.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, validate_import::handle).await
}
