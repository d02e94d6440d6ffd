//! Values on their way through binary COPY are what PostgreSQL makes of their text.

use onceload_tests::{Bench, State};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fmt::Write;

/// Signs, leading zeros, one or two decimals or none: everything that the grammar allows.
fn prices() -> impl Strategy<Value = String> {
    prop_oneof![
        "[+-]?[0-9]{1,10}(\\.[0-9]{1,2})?",
        "-?0{1,10}(\\.0{1,2})?",
        "[1-9]0{3,9}(\\.[0-9]0?)?",
        "0{0,6}[1-9]0{0,3}\\.0[1-9]",
    ]
}

fn instants() -> impl Strategy<Value = String> {
    let seconds = prop_oneof![
        -62_135_596_800i64..253_402_300_799,
        900_000_000i64..2_000_000_000,
        946_684_790i64..946_684_810
    ];
    (seconds, 0u32..1_000_000, 0usize..7, -15i32..=15, 0u32..60).prop_map(
        |(seconds, micros, digits, zone, minutes)| {
            let time = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap();
            let mut text = time.format("%Y-%m-%dT%H:%M:%S").to_string();
            if digits > 0 {
                let _ = write!(text, ".{}", &format!("{micros:06}")[..digits]);
            }
            match zone {
                0 => text.push('Z'),
                _ if minutes % 3 == 0 => {}
                _ => {
                    let _ =
                        write!(text, "{}{:02}:{minutes:02}", if zone < 0 { '-' } else { '+' }, zone.abs());
                }
            }
            text
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_copy_agrees_with_the_text_casts() {
    const ROWS: usize = 4000;
    let bench = Bench::new().await;
    let mut runner = TestRunner::default();
    let mut text = String::from("code,price,window_start,window_end,points,serial,sku,sku_name,batch_code\n");
    let one = (prices(), instants(), instants(), any::<i32>(), "[ -~é]{0,30}");
    for i in 0..ROWS {
        let (price, start, end, points, words) = one.new_tree(&mut runner).unwrap().current();
        // The same words in every text column, and the typed values as text beside them.
        let words = format!("\"{}\"", words.replace('"', "\"\""));
        let _ = writeln!(text, "C{i},{price},{start},{end},{points},{price},{start},{end},{words}");
    }
    let mut run = bench.file("values.csv", text);
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, i64::try_from(ROWS).unwrap(), "nothing was rejected");
    bench.db.exec("SET timezone = 'UTC'").await;
    let off = bench
        .db
        .column(
            "SELECT concat_ws(' ', code, price, serial, window_start, sku, window_end, sku_name) FROM codes
              WHERE price IS DISTINCT FROM serial::numeric(12, 2) OR price::text <> serial::numeric(12, 2)::text
                 OR window_start IS DISTINCT FROM sku::timestamptz OR window_end IS DISTINCT FROM sku_name::timestamptz
              LIMIT 10",
        )
        .await;
    assert!(off.is_empty(), "{off:#?}");
    // Arithmetic on what was received: a numeric with a wrong weight prints well and computes badly.
    let sums = bench.db.rows("SELECT sum(price), sum(serial::numeric) FROM codes").await;
    assert_eq!(sums[0][0], sums[0][1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_what_fits() {
    let bench = Bench::new().await;
    let text = "code,points,price,window_start\n\
        MAX,2147483647,9999999999.99,9999-12-31T23:59:59.999999Z\n\
        MIN,-2147483648,-9999999999.99,0001-01-01\n\
        ZERO,0,0,1970-01-01\n\
        MINUS,-0,-0.00,2000-01-01T00:00:00Z\n\
        CENT,1,0.01,1999-12-31T23:59:59.999999Z\n\
        NONE,,,\n";
    let mut run = bench.file("ends.csv", text);
    run.finish(&bench.actor).await.expect(State::Done);
    bench.db.exec("SET timezone = 'UTC'").await;
    let rows = bench
        .db
        .column("SELECT concat_ws('|', code, points, price, window_start) FROM codes ORDER BY code")
        .await;
    assert_eq!(
        rows,
        [
            "CENT|1|0.01|1999-12-31 23:59:59.999999+00",
            "MAX|2147483647|9999999999.99|9999-12-31 23:59:59.999999+00",
            "MIN|-2147483648|-9999999999.99|0001-01-01 00:00:00+00",
            "MINUS|0|0.00|2000-01-01 00:00:00+00",
            "NONE",
            "ZERO|0|0.00|1970-01-01 00:00:00+00",
        ]
    );
}
