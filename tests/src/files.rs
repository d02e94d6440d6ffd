//! Contents of files: sequential codes, codes that hardly compress, and gzip.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("encoding in memory");
    encoder.finish().expect("encoding in memory")
}

/// Codes that hardly compress, so that a file of them exceeds what opening inspects.
pub fn noise(rows: u64) -> String {
    let mut text = String::from("code\n");
    for i in 0..rows {
        let mixed = u128::from(i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let _ = writeln!(text, "{mixed:032x}");
    }
    text
}

/// `{prefix}000000`, `{prefix}000001` ...
pub fn numbered(prefix: &str, range: Range<u32>) -> String {
    let mut text = String::from("code\n");
    for i in range {
        let _ = writeln!(text, "{prefix}{i:06}");
    }
    text
}
