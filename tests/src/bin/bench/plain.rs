//! The files as psql and pgloader can take them: unpacked, every record with as many fields as the header.

use crate::Outcome;
use crate::batch::Batch;
use crate::report::say;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct PlainFile {
    pub path: PathBuf,
    /// Names as the staging table has them; columns that it does not have are `ignored_<n>`.
    pub columns: Vec<String>,
    pub delimiter: u8,
}

impl PlainFile {
    /// Of all files of a batch.
    pub(crate) fn of_batch(batch: &Batch) -> Outcome<Vec<Self>> {
        let files = &batch.expected.files;
        say(&format!("Unpacking {} files for the others", files.len()));
        files.iter().map(|file| Self::of(&batch.directory.join(&file.name))).collect()
    }

    /// Writes `<file>.plain` beside the file.
    fn of(source: &Path) -> Outcome<Self> {
        let bytes = unpacked(std::fs::read(source)?)?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let (delimiter, columns) = header(text)?;
        let mut path = source.as_os_str().to_owned();
        path.push(".plain");
        let path = PathBuf::from(path);
        std::fs::write(&path, filled_up(text, delimiter, columns.len()))?;
        Ok(Self { path, columns, delimiter })
    }
}

fn unpacked(bytes: Vec<u8>) -> Outcome<Vec<u8>> {
    let mut plain = Vec::new();
    if bytes.starts_with(b"\x1f\x8b") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
    } else if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        plain = zstd::decode_all(bytes.as_slice())?;
    } else {
        plain = bytes;
    }
    Ok(plain)
}

/// The delimiter, and the columns by the names that operators know.
fn header(text: &[u8]) -> Outcome<(u8, Vec<String>)> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line)?.trim_end_matches('\r');
    let count = |delimiter: char| fields(line, delimiter).len();
    let delimiter = [',', ';', '\t', '|'].into_iter().rev().max_by_key(|it| count(*it)).unwrap_or(',');
    let named = |(n, cell): (usize, String)| {
        let cell: String = cell.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let name = match cell.to_ascii_lowercase().as_str() {
            "code" => "code",
            "serial" | "serialnumber" => "serial",
            "sku" => "sku",
            "points" => "points",
            "skuname" | "productname" => "sku_name",
            "batchcode" | "batchid" => "batch_code",
            "price" => "price",
            "windowstart" => "window_start",
            "windowend" => "window_end",
            "merchantid" => "merchant_id",
            _ => return format!("ignored_{n}"),
        };
        name.to_owned()
    };
    Ok((delimiter as u8, fields(line, delimiter).into_iter().enumerate().map(named).collect()))
}

fn fields(line: &str, delimiter: char) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => all.push(String::new()),
            c => all.last_mut().unwrap_or(&mut String::new()).push(c),
        }
    }
    all
}

/// Records that end early get their missing delimiters.
fn filled_up(text: &[u8], delimiter: u8, columns: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    let (mut quoted, mut seen, mut begun) = (false, 1, false);
    let fill = |out: &mut Vec<u8>, seen: usize| {
        let end = if out.last() == Some(&b'\r') { out.pop() } else { None };
        out.extend(std::iter::repeat_n(delimiter, columns.saturating_sub(seen)));
        out.extend(end);
    };
    for &byte in text {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => {
                fill(&mut out, seen);
                out.push(byte);
                (seen, begun) = (1, false);
                continue;
            }
            byte if byte == delimiter && !quoted => seen += 1,
            _ => {}
        }
        begun = true;
        out.push(byte);
    }
    if begun {
        fill(&mut out, seen);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_match_in_any_case_and_spacing() {
        let (delimiter, columns) = header(b"sku_name,\"Note, internal\",batch_id,points,code\r\nx").unwrap();
        assert_eq!(delimiter, b',');
        assert_eq!(columns, ["sku_name", "ignored_1", "batch_code", "points", "code"]);
        assert_eq!(header(b"Code\n").unwrap(), (b',', vec!["code".to_owned()]));
        assert_eq!(header(b"\"Code\";\"SERIAL_NUMBER\"\r\n").unwrap().0, b';');
    }

    #[test]
    fn short_records_are_padded_and_quoted_line_ends_kept() {
        let text = b"a;b;c\r\n1\r\n\"x\r\n;\";2\r\n1;2;3\r\n4";
        assert_eq!(filled_up(text, b';', 3), b"a;b;c\r\n1;;\r\n\"x\r\n;\";2;\r\n1;2;3\r\n4;;");
    }
}
