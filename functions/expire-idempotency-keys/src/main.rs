//! Serves `expire-idempotency-keys`. One connection: it only deletes.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(1, expire_idempotency_keys::handle).await
}
