//! Serves `expire-idempotency-keys`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(expire_idempotency_keys::CONNECTIONS, expire_idempotency_keys::handle).await
}
