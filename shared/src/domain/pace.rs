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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_seconds_say_nothing() {
        let hour = Duration::from_secs(3600);
        assert_eq!(too_slow(Duration::from_secs(20), Duration::from_secs(1), 1, 1_000_000), None);
        assert_eq!(too_slow(hour, hour, 0, 10), None);
        assert_eq!(too_slow(Duration::from_secs(30), Duration::from_secs(100), 10, 100), Some(10.0 / 30.0));
        assert_eq!(too_slow(Duration::from_secs(30), Duration::from_secs(301), 10, 100), None);
    }

    proptest! {
        #[test]
        fn what_is_on_time_goes_on(elapsed in 21u64..900, done in 1i64..1_000_000, all in 1i64..1_000_000) {
            let elapsed = Duration::from_secs(elapsed);
            let needed = elapsed.as_secs_f64() * all as f64 / done as f64;
            prop_assert!(too_slow(elapsed, Duration::from_secs_f64(needed + 1.0), done, all).is_none());
            if needed > 2.0 {
                prop_assert!(too_slow(elapsed, Duration::from_secs_f64(needed - 1.0), done, all).is_some());
            }
        }
    }
}
