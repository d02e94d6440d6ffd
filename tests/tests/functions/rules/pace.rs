//! When a step is too slow for the time that it has, and when too many codes came late.

use proptest::prelude::*;
use shared::domain::late::is_too_late;
use shared::domain::pace::{Forecast, Measured};
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(900);

/// Work of which so much was done after so many seconds.
fn forecast(all: i64, noted: &[(i64, u64)]) -> Forecast {
    let mut measured = Measured::new(all, BUDGET);
    let mut last = Forecast::InTime;
    for (done, seconds) in noted {
        last = measured.add(*done, Duration::from_secs(*seconds));
    }
    last
}

#[test]
fn the_first_seconds_and_a_single_part_say_nothing() {
    assert_eq!(forecast(1_000_000, &[(1, 10), (2, 20)]), Forecast::InTime);
    assert_eq!(forecast(1_000_000, &[(1, 600)]), Forecast::InTime);
}

#[test]
fn work_that_no_budget_is_enough_for_is_too_slow() {
    assert_eq!(forecast(1000, &[(10, 15), (20, 30)]), Forecast::TooSlow(10.0 / 15.0));
    assert_eq!(forecast(590, &[(10, 15), (20, 30)]), Forecast::InTime);
}

#[test]
fn a_stall_is_no_pace() {
    // Ten rows a second, but for five minutes in which nothing was done.
    assert_eq!(forecast(3000, &[(100, 10), (200, 20), (300, 330)]), Forecast::InTime);
    // The rest takes longer than what is left, and the whole does not.
    let stall = Duration::from_secs(610);
    assert_eq!(forecast(8000, &[(100, 10), (200, 20), (300, 630)]), Forecast::Stalled(stall));
    assert_eq!(forecast(8000, &[(1, 900)]), Forecast::Stalled(BUDGET));
    assert_eq!(forecast(9001, &[(100, 10), (200, 20), (300, 630)]), Forecast::TooSlow(10.0));
}

proptest! {
    #[test]
    fn steady_work_is_told_by_its_pace(part in 1i64..1000, seconds in 1u64..10, until in 30u64..900, rest in 1i64..1_000_000) {
        let noted: Vec<_> = (1..).map(|n| (n * part, n.cast_unsigned() * seconds)).take_while(|(_, after)| *after < until).collect();
        let all = noted.last().unwrap().0 + rest;
        let needed = all as f64 / part as f64 * seconds as f64;
        match forecast(all, &noted) {
            Forecast::TooSlow(_) => prop_assert!(needed > 899.0),
            Forecast::InTime => prop_assert!(needed < 901.0),
            Forecast::Stalled(_) => prop_assert!(needed > 870.0 && needed < 901.0),
        }
    }

    #[test]
    fn one_stall_never_makes_work_too_slow(stalled in 0usize..20, stall in 0u64..600, all in 21i64..700) {
        let mut measured = Measured::new(all, BUDGET);
        let mut elapsed = 0;
        for n in 0..20 {
            elapsed += 1 + if usize::try_from(n).unwrap() == stalled { stall } else { 0 };
            let forecast = measured.add(n + 1, Duration::from_secs(elapsed));
            prop_assert!(!matches!(forecast, Forecast::TooSlow(_)), "{forecast:?}");
        }
    }
}

#[test]
fn one_percent_of_late_duplicates_is_covered() {
    assert!(!is_too_late(1, 100) && is_too_late(2, 100));
    assert!(!is_too_late(0, 0) && is_too_late(1, 0));
}
