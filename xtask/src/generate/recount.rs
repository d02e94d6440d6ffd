//! Counts a written batch from its bytes, with simple readers that share nothing with the generator.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use super::{Expected, ExpectedFile};

/// Counts the records of the files in `dir` against its production codes.
pub(super) fn recount(dir: &Path, merchant_id: &str) -> Expected {
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        manifest["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.is_sorted(), "the files must sort in the planned order");
    let production = read_production(dir);
    let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut total = Expected {
        merchant_id: merchant_id.to_owned(),
        production: production.len() as u64,
        records: 0,
        staged: 0,
        rejected: 0,
        skipped: 0,
        internal_duplicates: 0,
        database_duplicates: 0,
        both_duplicates: 0,
        clean: 0,
        rejects_by_reason: BTreeMap::new(),
        files: Vec::new(),
    };
    for name in names {
        let packed = fs::read(dir.join(name)).unwrap();
        let mut file =
            ExpectedFile { name: name.to_owned(), bytes: packed.len() as u64, ..ExpectedFile::default() };
        for verdict in judge_all(&decompress(&packed), merchant_id) {
            file.records += 1;
            match verdict {
                Verdict::Skipped => file.skipped += 1,
                Verdict::Rejected(reason) => {
                    file.rejected += 1;
                    *total.rejects_by_reason.entry(reason.to_owned()).or_default() += 1;
                }
                Verdict::Staged(code) => {
                    file.staged += 1;
                    let existing = production.contains(&code);
                    let occurrence = seen.entry(code).or_default();
                    *occurrence += 1;
                    let internal = *occurrence > 1;
                    total.internal_duplicates += u64::from(internal);
                    total.database_duplicates += u64::from(existing);
                    total.both_duplicates += u64::from(internal && existing);
                    total.clean += u64::from(!internal && !existing);
                }
            }
        }
        assert!(file.staged > 0, "{name} has no staged record");
        total.records += file.records;
        total.staged += file.staged;
        total.rejected += file.rejected;
        total.skipped += file.skipped;
        total.files.push(file);
    }
    total
}

fn read_production(dir: &Path) -> HashSet<Vec<u8>> {
    let text = fs::read_to_string(dir.join("production.copy")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let codes: HashSet<_> = text.lines().map(|line| line.replace("\\t", "\t").into_bytes()).collect();
    assert_eq!(codes.len(), text.lines().count(), "production codes repeat");
    codes
}

fn decompress(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if packed.starts_with(&[0x1F, 0x8B]) {
        flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    } else if packed.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        zstd::Decoder::new(packed).unwrap().read_to_end(&mut bytes).unwrap();
    } else {
        bytes.extend_from_slice(packed);
    }
    bytes
}

/// The result that an import must have for one record.
enum Verdict {
    Skipped,
    Rejected(&'static str),
    Staged(Vec<u8>),
}

fn judge_all(bytes: &[u8], merchant_id: &str) -> Vec<Verdict> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let delimiter = find_delimiter(bytes);
    let mut records = parse_records(bytes, delimiter);
    let header: Vec<String> = records.remove(0).into_iter().map(|name| canonical_name(&name)).collect();
    assert_eq!(header.iter().filter(|name| *name == "code").count(), 1);
    assert_eq!(header.iter().collect::<HashSet<_>>().len(), header.len(), "duplicate columns: {header:?}");
    records.into_iter().map(|record| judge(&header, &record, merchant_id)).collect()
}

/// Finds the delimiter that the header has outside quotes.
fn find_delimiter(bytes: &[u8]) -> u8 {
    let mut quoted = false;
    for &byte in bytes {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' => break,
            b',' | b';' | b'\t' | b'|' if !quoted => return byte,
            _ => {}
        }
    }
    b','
}

fn canonical_name(name: &[u8]) -> String {
    let name = String::from_utf8(name.trim_ascii().to_ascii_lowercase()).unwrap();
    match name.replace(' ', "_").as_str() {
        "batch_id" => "batch_code".to_owned(),
        "serial_number" => "serial".to_owned(),
        "product_name" => "sku_name".to_owned(),
        other => other.to_owned(),
    }
}

/// Parses RFC 4180 byte by byte. A blank line is a record of one empty field.
fn parse_records(bytes: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let (mut all, mut record, mut field) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = 0;
    let mut quoted = false;
    let mut open = false;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        open = true;
        if quoted {
            match byte {
                b'"' if bytes.get(at) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                b'"' => quoted = false,
                _ => field.push(byte),
            }
            continue;
        }
        match byte {
            b'"' => {
                assert!(field.is_empty(), "a quote in the middle of a field");
                quoted = true;
            }
            b'\r' => assert_eq!(bytes.get(at), Some(&b'\n'), "a carriage return alone"),
            b'\n' => {
                record.push(std::mem::take(&mut field));
                all.push(std::mem::take(&mut record));
                open = false;
            }
            _ if byte == delimiter => record.push(std::mem::take(&mut field)),
            _ => field.push(byte),
        }
    }
    assert!(!quoted, "an unterminated quote");
    if open {
        record.push(field);
        all.push(record);
    }
    all
}

fn judge(header: &[String], record: &[Vec<u8>], merchant_id: &str) -> Verdict {
    if record.iter().all(Vec::is_empty) {
        return Verdict::Skipped;
    }
    let mut reasons = HashSet::new();
    if record.len() > header.len() {
        reasons.insert("extra_fields");
    }
    let mut code = Vec::new();
    for (name, value) in header.iter().zip(record) {
        if value.contains(&0) {
            reasons.insert("nul_byte");
        }
        let Ok(text) = std::str::from_utf8(value) else {
            reasons.insert("invalid_utf8");
            code = b"?".to_vec();
            continue;
        };
        let wrong = match name.as_str() {
            "code" => {
                code = value.trim_ascii().to_vec();
                (code.len() > 255).then_some("too_long")
            }
            "serial" | "sku" | "sku_name" | "batch_code" => (value.len() > 255).then_some("too_long"),
            "points" => (!text.is_empty() && text.parse::<i32>().is_err()).then_some("invalid_points"),
            "price" => (!text.is_empty() && !is_price(text)).then_some("invalid_price"),
            "window_start" | "window_end" => (!text.is_empty() && !is_date(text)).then_some("invalid_date"),
            "merchant_id" if text.eq_ignore_ascii_case(merchant_id) => None,
            "merchant_id" => Some(if is_uuid(text) { "merchant_mismatch" } else { "invalid_merchant_id" }),
            _ => None,
        };
        reasons.extend(wrong);
    }
    if code.is_empty() {
        reasons.insert("empty_code");
    }
    assert!(reasons.len() < 2, "two faults in one record: {reasons:?} in {record:?}");
    reasons.into_iter().next().map_or(Verdict::Staged(code), Verdict::Rejected)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_price(text: &str) -> bool {
    let digits =
        |part: &str, most| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, cents)) => digits(whole, 10) && digits(cents, 2),
        None => digits(text, 10),
    }
}

fn is_date(text: &str) -> bool {
    let (day, time) = text.split_at_checked(10).unwrap_or((text, "!"));
    let number = |part: &str| if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None };
    let parts: Vec<Option<u32>> = day.split('-').map(number).collect();
    let [Some(2026..=2027), Some(month @ 1..=12), Some(day @ 1..=31)] = parts[..] else { return false };
    if day > if month == 2 { 28 } else { 30 + (month + month / 8) % 2 } {
        return false;
    }
    let Some(time) = time.strip_prefix('T') else { return time.is_empty() };
    let Some((clock, rest)) = time.split_at_checked(8) else { return false };
    let clock: Vec<Option<u32>> = clock.split(':').map(number).collect();
    matches!(clock[..], [Some(0..=23), Some(0..=59), Some(0..=59)])
        && ["", "Z", ".500Z", "+02:00", "-05:30"].contains(&rest)
}
