//! Reads a file's layout from its head: delimiter, encoding, and which column holds which field.

use crate::domain::fault::{Fault, FaultReason};
use crate::domain::field::{Field, Mapping, fold};
use crate::domain::layout::{Compression, Layout};

/// The header must end within so many bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The most columns of a file.
pub const MAX_COLUMNS: usize = 1000;
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Reads the layout from the first bytes of a file, already decompressed.
///
/// `complete`: these bytes are the whole file.
pub fn read_layout(
    head: &[u8],
    complete: bool,
    compression: Compression,
    mapping: &Mapping,
) -> Result<Layout, Fault> {
    let text = strip_bom(head)?;
    let header_end = check_text(text, complete)?;
    let layout = best_layout(&text[..header_end], compression, mapping)?;
    if complete && text[header_end..].iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(FaultReason::HeaderOnly, "there is nothing below the header"));
    }
    Ok(layout)
}

/// The bytes after a UTF-8 byte order mark; a UTF-16 one is a fault.
pub fn strip_bom(head: &[u8]) -> Result<&[u8], Fault> {
    match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Err(Fault::new(FaultReason::Utf16, "it begins with a UTF-16 byte order mark"))
        }
        [0xef, 0xbb, 0xbf, text @ ..] => Ok(text),
        _ => Ok(head),
    }
}

/// Checks that this is text, and returns where the header ends.
fn check_text(text: &[u8], complete: bool) -> Result<usize, Fault> {
    if complete && text.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(FaultReason::EmptyFile, "it holds no record"));
    }
    let start = &text[..text.len().min(MAX_HEADER_BYTES)];
    let looks_utf16 = start.len() >= 4 && start[..4].iter().filter(|b| **b == 0).count() == 2;
    if looks_utf16 {
        return Err(Fault::new(FaultReason::Utf16, "every second byte is zero"));
    }
    let end = record_end(start);
    let header = &start[..end.unwrap_or(start.len())];
    if let Some(byte) = header.iter().find(|b| **b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n')) {
        return Err(Fault::new(FaultReason::NotCsv, format!("its first line holds byte 0x{byte:02x}")));
    }
    if std::str::from_utf8(header).is_err_and(|e| e.error_len().is_some()) {
        return Err(Fault::at_line(FaultReason::NotCsv, 1, "its first line is not UTF-8 text"));
    }
    match end {
        Some(end) => Ok(end),
        None if complete && text.len() <= MAX_HEADER_BYTES => {
            if ends_in_quotes(text) {
                return Err(Fault::at_line(FaultReason::UnterminatedQuote, 1, "the header never ends"));
            }
            Ok(text.len())
        }
        None => Err(Fault::at_line(
            FaultReason::HeaderTooLong,
            1,
            format!("the first record does not end within {MAX_HEADER_BYTES} bytes"),
        )),
    }
}

/// Finds the end of the first record that isn't a blank line, with its terminator.
fn record_end(text: &[u8]) -> Option<usize> {
    let start = text.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let mut quoted = false;
    for (i, byte) in text.iter().enumerate().skip(start) {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => return Some(i + 1),
            _ => {}
        }
    }
    None
}

fn ends_in_quotes(text: &[u8]) -> bool {
    text.iter().filter(|b| **b == b'"').count() % 2 == 1
}

/// Chooses the delimiter with which most columns are known fields; among equals the one with most columns.
fn best_layout(header: &[u8], compression: Compression, mapping: &Mapping) -> Result<Layout, Fault> {
    let header = String::from_utf8_lossy(header);
    let header = header.trim_matches(['\r', '\n']);
    let mut best: Option<(usize, usize, u8, Vec<String>)> = None;
    for delimiter in DELIMITERS {
        let names = split_record(header, delimiter);
        let known = names.iter().filter(|name| field_of(name, mapping).is_some()).count();
        let better = best.as_ref().is_none_or(|(k, n, ..)| (known, names.len()) > (*k, *n));
        if better {
            best = Some((known, names.len(), delimiter, names));
        }
    }
    let (_, _, delimiter, names) = best.unwrap_or((0, 0, b',', Vec::new()));
    if names.len() > MAX_COLUMNS {
        return Err(Fault::at_line(
            FaultReason::HeaderTooLong,
            1,
            format!("{} columns; at most {MAX_COLUMNS} are read", names.len()),
        ));
    }
    columns(names, delimiter, compression, mapping)
}

fn columns(
    header: Vec<String>,
    delimiter: u8,
    compression: Compression,
    mapping: &Mapping,
) -> Result<Layout, Fault> {
    for (field, wanted) in mapping {
        if !header.iter().any(|name| fold(name) == fold(wanted)) {
            let detail =
                format!("the mapping takes `{field}` from `{wanted}`, which the header does not have");
            return Err(Fault::at_line(FaultReason::MissingColumn, 1, detail));
        }
    }
    let columns: Vec<Option<Field>> = header.iter().map(|name| field_of(name, mapping)).collect();
    for field in Field::ALL {
        let holding: Vec<&str> = header
            .iter()
            .zip(&columns)
            .filter(|(_, c)| **c == Some(field))
            .map(|(h, _)| h.as_str())
            .collect();
        if holding.len() > 1 {
            let detail = format!("`{}` all mean `{}`", holding.join("`, `"), field.as_str());
            return Err(Fault::at_line(FaultReason::DuplicateColumn, 1, detail));
        }
    }
    if !columns.contains(&Some(Field::Code)) {
        let shown: Vec<&str> = header.iter().take(20).map(String::as_str).collect();
        let detail = format!("the header is `{}`", shown.join("`, `"));
        return Err(Fault::at_line(
            FaultReason::NoCodeColumn,
            1,
            detail.chars().take(400).collect::<String>(),
        ));
    }
    let unknown = header.iter().zip(&columns).filter(|(_, c)| c.is_none()).map(|(h, _)| h.clone()).collect();
    Ok(Layout { compression, delimiter, columns, header, unknown })
}

/// The field of a header. A mapping comes first: a header that it uses means no other field by its own name, and a field
/// that it takes from another header is not found by name.
fn field_of(header: &str, mapping: &Mapping) -> Option<Field> {
    let mapped = mapping.iter().find(|(_, wanted)| fold(wanted) == fold(header));
    if let Some((field, _)) = mapped {
        return Field::by_name(field);
    }
    Field::by_header(header).filter(|field| !mapping.contains_key(field.as_str()))
}

/// Splits one record by RFC 4180's rules. Only for headers: records go through csv-async.
fn split_record(record: &str, delimiter: u8) -> Vec<String> {
    let delimiter = char::from(delimiter);
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = record.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Result<Layout, FaultReason> {
        read_layout(text, true, Compression::None, &Mapping::new()).map_err(|fault| fault.reason)
    }

    #[test]
    fn finds_delimiter_and_aliases() {
        for delimiter in [",", ";", "\t", "|"] {
            let text =
                ["Code", "Serial Number", "BATCH_ID", "Product_Name", "colour"].join(delimiter) + "\r\nA\r\n";
            let layout = of(text.as_bytes()).expect("layout");
            assert_eq!(char::from(layout.delimiter).to_string(), delimiter);
            assert_eq!(
                layout.columns,
                [Some(Field::Code), Some(Field::Serial), Some(Field::BatchCode), Some(Field::SkuName), None]
            );
            assert_eq!(layout.unknown, ["colour"]);
        }
        assert_eq!(of(b"\xef\xbb\xbfcode\nA").expect("bom").columns, [Some(Field::Code)]);
        assert_eq!(of(b"\"code\";\"a,b,c,d\"\nA;x\n").expect("quoted").delimiter, b';');
        assert_eq!(of(b"\n\ncode,sku\nA,1\n").expect("blank lines first").columns.len(), 2);
    }

    #[test]
    fn names_faults() {
        assert_eq!(of(b""), Err(FaultReason::EmptyFile));
        assert_eq!(of(b"\r\n \n"), Err(FaultReason::EmptyFile));
        assert_eq!(of(b"code,sku\n\n"), Err(FaultReason::HeaderOnly));
        assert_eq!(of(b"serial,sku\n1,2\n"), Err(FaultReason::NoCodeColumn));
        assert_eq!(of(b"code,Batch_ID,batch code\n1,2,3\n"), Err(FaultReason::DuplicateColumn));
        assert_eq!(of(b"\xff\xfec\0o\0d\0e\0"), Err(FaultReason::Utf16));
        assert_eq!(of(b"c\0o\0d\0e\0\n\0A\0"), Err(FaultReason::Utf16));
        assert_eq!(of(b"PK\x03\x04\x14\x00rest\n"), Err(FaultReason::NotCsv));
        assert_eq!(of(b"c\xf8de,sku\nA,1\n"), Err(FaultReason::NotCsv));
        assert_eq!(of(b"\"code,sku\nA,1\n"), Err(FaultReason::UnterminatedQuote));
        let wide = format!("code{}\nA\n", ",x".repeat(2000));
        assert_eq!(of(wide.as_bytes()), Err(FaultReason::HeaderTooLong));
        let wider = format!("code{}\nA\n", ",column".repeat(100_000));
        assert_eq!(of(wider.as_bytes()), Err(FaultReason::HeaderTooLong));
    }

    #[test]
    fn a_mapping_decides() {
        let mapping = Mapping::from([("code".into(), "Voucher".into()), ("sku".into(), "serial".into())]);
        let layout =
            read_layout(b"voucher,code,serial\nA,B,C\n", true, Compression::None, &mapping).expect("layout");
        assert_eq!(layout.columns, [Some(Field::Code), None, Some(Field::Sku)]);
        let fault = read_layout(b"code\nA\n", true, Compression::None, &mapping).expect_err("no voucher");
        assert_eq!(fault.reason, FaultReason::MissingColumn);
    }
}
