//! Serves `validate-import`. Three connections: two look at half of the chunks each, one beats.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(3, validate_import::handle).await
}
