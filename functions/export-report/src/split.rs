//! Splits records that were kept one by one, such as rejects, with the reader that has read them before.

use shared::csv::records::{Next, Records};
use shared::csv::row::Record;
use shared::domain::layout::Layout;
use std::io::Cursor;

/// The fields of each of these whole records of a file of this layout. `None` for a record that can't be split, or that
/// would say something else once its fields are written anew: it has more fields than the header, malformed quotes, a CR
/// outside of quotes that ends nothing, or bytes that are not UTF-8.
pub(crate) async fn split(records: &[&[u8]], layout: &Layout) -> Vec<Option<Vec<String>>> {
    // The reader passes over a byte order mark at the start of its text, so the text has a line before the records.
    let mut text = b"-\n".to_vec();
    for record in records {
        text.extend_from_slice(record);
        text.push(b'\n');
    }
    let mut reader = Records::new(Box::pin(Cursor::new(text)), layout.delimiter, layout.line_end);
    let mut in_step = matches!(reader.next().await, Ok(Next::Record));
    let mut split = Vec::with_capacity(records.len());
    for record in records {
        in_step = in_step && matches!(reader.next().await, Ok(Next::Record)) && reader.raw() == *record;
        split.push(if in_step { fields(&reader, layout) } else { None });
    }
    split
}

fn fields(reader: &Records, layout: &Layout) -> Option<Vec<String>> {
    let fields = reader.fields();
    if fields.len() > layout.columns.len() || reader.check_raw().is_err() {
        return None;
    }
    fields.iter().map(|field| String::from_utf8(field.to_vec()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::csv::layout::read_layout;
    use shared::csv::text::quote;
    use shared::domain::field::Mapping;
    use shared::domain::layout::Compression;

    fn run(header: &str, records: &[&[u8]]) -> Vec<Option<Vec<String>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let layout = read_layout(header.as_bytes(), false, Compression::None, &Mapping::new()).await;
            split(records, &layout.expect("a layout")).await
        })
    }

    #[test]
    fn what_cannot_be_split_is_told_apart_from_its_neighbours() {
        let records: [&[u8]; 9] = [
            "\u{feff}A;1".as_bytes(),
            b"B",
            b"C;1;2;3",
            b"\"D\"x;1",
            b"E\r;1",
            b"F\xff;1",
            b"\"G;\"\"\r\nH\";\"\"",
            b" I ;\0",
            b"\x1a",
        ];
        let found = run("code;points;sku\r\n", &records);
        let whole =
            |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            found,
            [
                whole(&["\u{feff}A", "1"]),
                whole(&["B"]),
                None,
                None,
                None,
                None,
                whole(&["G;\"\r\nH", ""]),
                whole(&[" I ", "\0"]),
                whole(&["\u{1a}"]),
            ]
        );
        assert_eq!(run("code,sku\r", &[b"A,1", b"\"B\r\",2"]), [whole(&["A", "1"]), whole(&["B\r", "2"])]);
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(records in proptest::collection::vec(
            proptest::collection::vec("[ab,;\"\n\r é]{0,5}", 1..4), 1..6)) {
            let written: Vec<String> = records
                .iter()
                .map(|fields| fields.iter().map(|field| quote(field, b';')).collect::<Vec<_>>().join(";"))
                .filter(|record| !record.is_empty())
                .collect();
            let raw: Vec<&[u8]> = written.iter().map(String::as_bytes).collect();
            let expected: Vec<_> = records.into_iter().filter(|fields| fields.concat() != "" || fields.len() > 1).collect();
            for (found, fields) in run("code;points;sku\n", &raw).into_iter().zip(expected) {
                // A blank before a quote that is part of the text looks like malformed quotes.
                if let Some(found) = found {
                    prop_assert_eq!(found, fields);
                } else {
                    prop_assert!(fields.iter().any(|field| field.trim_start().starts_with('"')));
                }
            }
        }
    }
}
