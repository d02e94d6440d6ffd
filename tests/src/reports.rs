//! Reads exported reports as their users do.

use crate::World;
use shared::csv::records::{Next, Records};
use shared::csv::row::Record;
use shared::domain::layout::LineEnd;
use std::io::Read;

/// The decompressed object under a key.
pub fn read_gzip(world: &World, key: &str) -> Vec<u8> {
    let stored = world.s3.get(key).unwrap_or_else(|| panic!("nothing under {key}"));
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(stored.as_ref()).read_to_end(&mut text).expect("gzip");
    text
}

/// The records of a CSV file, header first.
pub async fn parse_records(text: Vec<u8>) -> Vec<Vec<String>> {
    let mut records = Records::new(Box::pin(std::io::Cursor::new(text)), b',', LineEnd::Lf);
    let mut all = Vec::new();
    while records.next().await.expect("a record") == Next::Record {
        all.push(
            records.fields().iter().map(|field| String::from_utf8(field.to_vec()).expect("UTF-8")).collect(),
        );
    }
    all
}
