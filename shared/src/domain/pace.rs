//! Whether long work will be done in the time that is left, at the pace that it has had.

use std::time::Duration;

/// Before this the pace says little.
const WARM_UP: Duration = Duration::from_secs(20);

/// The pace in units per second, if at that pace `all` takes longer than `budget`. What can't finish is given up
/// early: an aborted transaction of 14 minutes is 14 minutes of dead rows.
pub fn too_slow(elapsed: Duration, budget: Duration, done: i64, all: i64) -> Option<f64> {
    if elapsed <= WARM_UP || done <= 0 {
        return None;
    }
    let rate = done as f64 / elapsed.as_secs_f64();
    (all as f64 / rate > budget.as_secs_f64()).then_some(rate)
}
