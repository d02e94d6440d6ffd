//! The grammars of typed values: points, prices and dates.

/// A 32-bit integer: optional sign, digits.
pub(super) fn parse_points(bytes: &[u8]) -> Option<i32> {
    let digits = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A decimal with `.`: optional sign, up to 10 digits, up to 2 decimals. In hundredths.
pub(super) fn parse_price(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(dot) => (&digits[..dot], Some(&digits[dot + 1..])),
        None => (digits, None),
    };
    let fraction = fraction.unwrap_or(b"0");
    if !(1..=10).contains(&whole.len()) || !(1..=2).contains(&fraction.len()) {
        return None;
    }
    let hundredths =
        parse_number(whole)? * 100 + parse_number(fraction)? * if fraction.len() == 1 { 10 } else { 1 };
    Some(if negative { -hundredths } else { hundredths })
}

fn parse_number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

/// ISO 8601: `YYYY-MM-DD`, or that with `T` or a space, `HH:MM[:SS[.f{1,6}]]` and `Z`, `+HH:MM`, `+HHMM`
/// or `+HH`. UTC unless it says otherwise. In microseconds since 1970.
pub(super) fn parse_date(bytes: &[u8]) -> Option<i64> {
    let (day, time) = bytes.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *day else { return None };
    let year = i32::try_from(parse_number(&[y0, y1, y2, y3])?).ok()?;
    let month = u32::try_from(parse_number(&[m0, m1])?).ok()?;
    let day = u32::try_from(parse_number(&[d0, d1])?).ok()?;
    let midnight = chrono::NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(0, 0, 0)?.and_utc();
    let micros = midnight.timestamp_micros() + if time.is_empty() { 0 } else { parse_time(time)? };
    // In UTC: an offset may lead into another year.
    (FIRST_MICROS..=LAST_MICROS).contains(&micros).then_some(micros)
}

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, in microseconds since 1970.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;
const LAST_MICROS: i64 = 253_402_300_799_999_999;

fn parse_time(bytes: &[u8]) -> Option<i64> {
    let clock = bytes.strip_prefix(b"T").or_else(|| bytes.strip_prefix(b" "))?;
    let zone_at = clock.iter().position(|b| matches!(b, b'Z' | b'z' | b'+' | b'-'));
    let (clock, zone) = clock.split_at(zone_at.unwrap_or(clock.len()));
    let (hours, rest) = (clock.get(..2)?, clock.get(2..)?);
    let (minutes, rest) = (rest.strip_prefix(b":")?.get(..2)?, rest.get(3..)?);
    let (seconds, fraction) = match rest.strip_prefix(b":") {
        Some(rest) => (parse_number(rest.get(..2)?)?, rest.get(2..)?),
        None if rest.is_empty() => (0, rest),
        None => return None,
    };
    let micros = match fraction.strip_prefix(b".") {
        Some(digits) if (1..=6).contains(&digits.len()) => {
            parse_number(digits)? * 10i64.pow(6 - u32::try_from(digits.len()).ok()?)
        }
        Some(_) => return None,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let (hours, minutes) = (parse_number(hours)?, parse_number(minutes)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some((hours * 3600 + minutes * 60 + seconds - parse_zone(zone)?) * 1_000_000 + micros)
}

fn parse_zone(zone: &[u8]) -> Option<i64> {
    let (sign, rest) = match zone {
        [] | b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *rest {
        [h0, h1] => (parse_number(&[h0, h1])?, 0),
        [h0, h1, m0, m1] | [h0, h1, b':', m0, m1] => (parse_number(&[h0, h1])?, parse_number(&[m0, m1])?),
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_dates() {
        for (text, micros) in [
            ("1970-01-01", 0),
            ("1970-01-02T00:00Z", 86_400_000_000),
            ("1970-01-01 01:00:00+01:00", 0),
            ("1970-01-01T00:00:00.5-0030", 1_800_500_000),
            ("2026-11-20T12:34:56.123456", 1_795_178_096_123_456),
            ("0001-01-01", FIRST_MICROS),
            ("9999-12-31T23:59:59.999999", LAST_MICROS),
            ("0001-01-01T00:01+00:01", FIRST_MICROS),
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(micros), "{text}");
        }
        for bad in [
            "1970-1-1",
            "1970-01-01T",
            "1970-01-01T24:00",
            "1970-01-01T1:00",
            "19700101",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00+1",
            "0000-01-01",
            "1970-01-01x",
            "1970-01-01T00:00:60",
            "1970-01-01T00",
            "0001-01-01T00:00+00:01",
            "9999-12-31T23:59:59.999999-00:01",
        ] {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn points_are_what_an_i32_parser_says(text in "[+-]?[0-9]{0,12}|[ -~]{0,6}") {
            let strict = text.parse::<i32>().ok();
            prop_assert_eq!(parse_points(text.as_bytes()), strict);
        }

        #[test]
        fn prices_keep_their_value(whole in 0u64..10_000_000_000, cents in 0u8..100, negative: bool) {
            let text = format!("{}{whole}.{cents:02}", if negative { "-" } else { "" });
            let expected = i64::try_from(whole).unwrap() * 100 + i64::from(cents);
            prop_assert_eq!(parse_price(text.as_bytes()), Some(if negative { -expected } else { expected }));
        }

        #[test]
        fn date_times_agree_with_chrono(seconds in -62_000_000_000i64..250_000_000_000, micros in 0u32..1_000_000, zone in -14i32..15) {
            let zone = chrono::FixedOffset::east_opt(zone * 3600).unwrap();
            let time = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap();
            let text = time.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string();
            prop_assert_eq!(parse_date(text.as_bytes()), Some(time.timestamp_micros()), "{}", text);
        }
    }
}
