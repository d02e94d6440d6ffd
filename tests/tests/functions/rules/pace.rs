//! When a step is too slow for the time that it has, and when too many codes came late.

use proptest::prelude::*;
use shared::domain::late::is_too_late;
use shared::domain::pace::too_slow;
use std::time::Duration;

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

#[test]
fn one_percent_of_late_duplicates_is_covered() {
    assert!(!is_too_late(1, 100) && is_too_late(2, 100));
    assert!(!is_too_late(0, 0) && is_too_late(1, 0));
}
