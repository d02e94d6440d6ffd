//! Serves `open-import`. One connection: its statements are short, and between them it beats.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(1, open_import::handle).await
}
