//! Binary COPY stores exactly the values that PostgreSQL would parse from the text.

use onceload_tests::World;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fmt::Write;

/// Every form that the grammar allows: signs, leading zeros, up to two decimals.
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
async fn binary_copy_stores_what_the_text_casts_yield() {
    const ROWS: usize = 4000;
    let world = World::new().await;
    let mut runner = TestRunner::default();
    let mut text = String::from("code,price,window_start,window_end,points,serial,sku,sku_name,batch_code\n");
    let one = (prices(), instants(), instants(), any::<i32>(), "[ -~é]{0,30}");
    for i in 0..ROWS {
        let (price, start, end, points, words) = one.new_tree(&mut runner).unwrap().current();
        // Text columns hold the typed values as text, to compare with.
        let words = format!("\"{}\"", words.replace('"', "\"\""));
        let _ = writeln!(text, "C{i},{price},{start},{end},{points},{price},{start},{end},{words}");
    }
    let _run = world.import_to_end("values.csv", text).await;
    assert_eq!(world.count_codes().await, i64::try_from(ROWS).unwrap(), "nothing was rejected");
    world.db.exec("SET timezone = 'UTC'").await;
    let off = world
        .db
        .column(
            "SELECT concat_ws(' ', code, price, serial, window_start, sku, window_end, sku_name) FROM onceload.codes
              WHERE price IS DISTINCT FROM serial::numeric(12, 2) OR price::text <> serial::numeric(12, 2)::text
                 OR window_start IS DISTINCT FROM sku::timestamptz OR window_end IS DISTINCT FROM sku_name::timestamptz
              LIMIT 10",
        )
        .await;
    assert!(off.is_empty(), "{off:#?}");
    // Compare sums, too: a numeric with a wrong weight prints correctly and computes wrongly.
    let sums = world.db.rows("SELECT sum(price), sum(serial::numeric) FROM onceload.codes").await;
    assert_eq!(sums[0][0], sums[0][1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extremes_of_each_type_are_stored_exactly() {
    let world = World::new().await;
    let text = "code,points,price,window_start\n\
        MAX,2147483647,9999999999.99,9999-12-31T23:59:59.999999Z\n\
        MIN,-2147483648,-9999999999.99,0001-01-01\n\
        ZERO,0,0,1970-01-01\n\
        MINUS,-0,-0.00,2000-01-01T00:00:00Z\n\
        CENT,1,0.01,1999-12-31T23:59:59.999999Z\n\
        NONE,,,\n";
    let _run = world.import_to_end("ends.csv", text).await;
    world.db.exec("SET timezone = 'UTC'").await;
    let rows = world
        .db
        .column("SELECT concat_ws('|', code, points, price, window_start) FROM onceload.codes ORDER BY code")
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
