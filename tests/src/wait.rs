//! Waits for a condition, never for a fixed time.

use std::time::{Duration, Instant};

/// The longest time that any condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Probes until there is an answer. Panics with the name of the condition if there is none in time.
pub async fn until<T>(what: &str, pause: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(pause).await;
    }
}
