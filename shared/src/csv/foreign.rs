//! Names formats that are sent instead of CSV text.

/// The name of a binary format, told by its first bytes: as the file begins, or as its decompressed content does.
pub(super) fn name_binary(head: &[u8], compressed: bool) -> Option<&'static str> {
    Some(match head {
        [0x1f, 0x8b, ..] if compressed => "gzip inside of the compression: it was compressed twice",
        [0x28, 0xb5, 0x2f, 0xfd, ..] if compressed => {
            "zstd inside of the compression: it was compressed twice"
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "an xz archive",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => "a bzip2 archive",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [0x04, 0x22, 0x4d, 0x18, ..] => "an lz4 archive",
        [b'P', b'K', 3, 4, ..] if is_excel(head) => "an Excel file",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a zip archive",
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "an old Office file, such as Excel's .xls",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [b'O', b'b', b'j', 1, ..] => "an Avro file",
        _ => return None,
    })
}

fn is_excel(head: &[u8]) -> bool {
    [&b"[Content_Types].xml"[..], b"xl/"].iter().any(|name| memchr::memmem::find(head, name).is_some())
}

/// The name of a format that is text, too. Only for a head in which no column of an import was found: a header may begin
/// with any character.
pub(super) fn name_text(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if begins(b"<!doctype html") || begins(b"<html") {
        Some("an HTML page")
    } else if begins(b"<") {
        Some("XML")
    } else if begins(b"{\\rtf") {
        Some("an RTF document")
    } else if begins(b"{") || begins(b"[") {
        Some("JSON")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named() {
        assert!(name_binary(b"\x1f\x8b\x08\x00", true).is_some_and(|name| name.contains("gzip")));
        assert_eq!(name_binary(b"PK\x03\x04....xl/workbook.xml", false), Some("an Excel file"));
        assert_eq!(name_binary(b"PK\x03\x04a.csv", false), Some("a zip archive"));
        assert_eq!(name_binary(b"code,sku\n", false), None);
        assert_eq!(name_text(b"\n<!DOCTYPE HTML><html>"), Some("an HTML page"));
        assert_eq!(name_text(b"{\"codes\":[]}"), Some("JSON"));
        assert_eq!(name_text(b"serial,sku\n"), None);
    }
}
