//! Looks at the raw bytes of a record for what the parser does not tell: blank lines and quotes left open.

/// Blank lines at the start: bytes they take, how many there are, and how many `\n` they hold.
pub(super) fn count_leading_blank_lines(bytes: &[u8], after_cr: bool) -> (usize, u64, u64) {
    let mut at = usize::from(after_cr && bytes.first() == Some(&b'\n'));
    let (mut blank, mut newlines) = (0, at as u64);
    loop {
        match &bytes[at..] {
            [b'\r', b'\n', ..] => {
                at += 2;
                newlines += 1;
            }
            [b'\n', ..] => {
                at += 1;
                newlines += 1;
            }
            [b'\r', ..] => at += 1,
            _ => return (at, blank, newlines),
        }
        blank += 1;
    }
}

/// Where a quote opens that is never closed: the parser's own rules (RFC 4180 section 2, a quote opens only at the
/// start of a field), run over one record.
pub(super) fn find_open_quote(record: &[u8], delimiter: u8) -> Option<usize> {
    let (mut at, mut field_start, mut open) = (0, true, None);
    while let Some(byte) = record.get(at) {
        match (open, byte) {
            (Some(_), b'"') if record.get(at + 1) == Some(&b'"') => at += 1,
            (Some(_), b'"') => open = None,
            (None, b'"') if field_start => open = Some(at),
            _ => {}
        }
        field_start = open.is_none() && *byte == delimiter;
        at += 1;
    }
    open
}
