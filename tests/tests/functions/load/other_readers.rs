//! The reader beside Python's csv and PostgreSQL's COPY, over files of odd quoting, line ends and delimiters, and around the
//! sizes of every buffer. What is taken is what they read, too. The differences are wanted:
//!
//! - Text behind a closing quote, a blank before an opening one and a backslash before a quote are rejects. Python takes them as
//!   text unless it is strict; COPY takes the quotes off wherever they stand. Each of them guesses.
//! - A quote inside of a field that does not begin with one is text, as for Python (`5" nail`). To COPY it opens a quote, which may
//!   swallow the next records.
//! - Where lines end in LF, a lone CR outside of quotes is a reject. Python ends the record there, COPY refuses the file.
//! - White space around a code is taken off.
//! - Empty records are skipped. COPY refuses them.

use bytes::Bytes;
use futures_util::SinkExt;
use onceload_tests::TestDb;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::json;
use shared::csv::layout::read_layout;
use shared::csv::records::ReadError;
use shared::csv::rows::Rows;
use shared::domain::fault::FaultReason;
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::layout::Compression;
use shared::domain::row::RejectReason;
use std::io::{Cursor, Write};
use std::pin::pin;
use std::process::{Command, Stdio};
use tokio_postgres::Client;
use uuid::Uuid;

const FILES: usize = 400;
/// The sizes of the buffers of a file's way: S3's pieces, the parser's, the reader's, the head's.
const BUFFERS: [usize; 5] = [8 * 1024, 64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024];

/// A file, and what is odd about it.
#[derive(Debug, Clone)]
struct Sample {
    text: String,
    delimiter: char,
    /// Every field is plain, or quoted as RFC 4180 says, and no line is blank.
    regular: bool,
}

impl Sample {
    /// Lines end in LF, and a lone CR may stand outside of quotes: Python ends a record there.
    fn is_torn(&self) -> bool {
        let header_end = self.text.find(['\r', '\n']).map(|at| &self.text[at..]);
        let by_cr = header_end.is_some_and(|end| end.starts_with('\r') && !end.starts_with("\r\n"));
        !self.regular && !by_cr && self.text.replace("\r\n", "").contains('\r')
    }
}

#[derive(Debug, Clone)]
enum Field {
    Plain(String),
    Quoted(String),
    Odd(String),
}

fn field() -> impl Strategy<Value = Field> {
    let piece = proptest::sample::select(vec![
        "a", "\"", ",", ";", "\t", "|", " ", "\\", "\n", "\r\n", "\r", "é", "x y",
    ]);
    let pieces = proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat());
    let odd = proptest::sample::select(vec![
        "5\" x",
        "\"a\"b",
        " \"a\"",
        "\"a\\\"\"",
        "a\"b\"",
        "\"\"\"",
        "x\ry",
        "\"",
    ]);
    prop_oneof![
        12 => "[a-z]{0,3}".prop_map(Field::Plain),
        6 => pieces.prop_map(Field::Quoted),
        1 => odd.prop_map(|text| Field::Odd(text.to_owned())),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let records = proptest::collection::vec((field(), field(), 0..20u8), 1..12);
    let delimiter = proptest::sample::select(vec![',', ';', '\t', '|']);
    let end = proptest::sample::select(vec!["\n", "\n", "\r\n", "\r"]);
    (records, delimiter, end, any::<bool>()).prop_map(|(records, delimiter, end, finished)| {
        let mut text = ["sku", "code", "serial"].join(&delimiter.to_string());
        let mut regular = true;
        for (number, (sku, serial, oddity)) in records.iter().enumerate() {
            text.push_str(end);
            let mut write = |field: &Field| match field {
                Field::Plain(plain) => plain.clone(),
                Field::Quoted(quoted) => format!("\"{}\"", quoted.replace('"', "\"\"")),
                Field::Odd(odd) => {
                    regular = false;
                    odd.clone()
                }
            };
            let (sku, serial) = (write(sku), write(serial));
            text.push_str(&match oddity {
                0 => format!("{end}{sku}{delimiter}C{number}{delimiter}{serial}"),
                1 => format!("{sku}{delimiter}C{number}"),
                2 => format!("{sku}{delimiter}C{number}{delimiter}{serial}{delimiter}"),
                3 => format!("{delimiter}{delimiter}"),
                _ => format!("{sku}{delimiter}C{number}{delimiter}{serial}"),
            });
            regular &= *oddity > 3;
        }
        if finished {
            text.push_str(end);
        }
        Sample { text, delimiter, regular }
    })
}

/// A line end, a doubled quote and a closing quote at every place around the end of a buffer.
fn around_buffers() -> Vec<Sample> {
    let mut samples = Vec::new();
    for size in BUFFERS {
        for (pad, odd) in (0..6).flat_map(|pad| ["\"\"\"\"", "\"a\r\nb\"", "\"x\""].map(|odd| (pad, odd))) {
            let end = if pad % 2 == 0 { "\n" } else { "\r\n" };
            let mut text = format!("sku,code,serial{end}");
            let mut number = 0;
            while text.len() + 60 < size {
                number += 1;
                text.push_str(&format!("{},P{number},{end}", "p".repeat(20)));
            }
            let rest = size - 6 - text.len() + pad;
            let filled = rest - format!(",F,{end}").len();
            text.push_str(&format!("{},F,{end}{odd},L,{odd}{end}tail,T,{end}", "f".repeat(filled)));
            samples.push(Sample { text, delimiter: ',', regular: true });
        }
    }
    samples
}

/// A record: its three fields, or why it was rejected.
type Outcome = Result<[String; 3], (RejectReason, String)>;

async fn read_ours(text: &str) -> Result<Vec<Outcome>, FaultReason> {
    let layout =
        read_layout(text.as_bytes(), true, Compression::None, &Mapping::new()).await.map_err(|f| f.reason)?;
    let source = Box::pin(Cursor::new(text.as_bytes().to_vec()));
    let mut rows = Rows::new(source, &layout, MerchantId(Uuid::nil()), 100_000);
    let mut outcomes = Vec::new();
    loop {
        match rows.next().await {
            Ok(false) => return Ok(outcomes),
            Ok(true) => {}
            Err(ReadError::File(fault)) => return Err(fault.reason),
            Err(ReadError::Source(error)) => panic!("{error}"),
        }
        let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
        outcomes.push(match rows.row() {
            Ok(row) => Ok([own(row.sku), row.code.to_owned(), own(row.serial)]),
            Err(reject) => Err((reject.reason, reject.detail)),
        });
    }
}

#[derive(Debug, Deserialize)]
struct Python {
    records: Vec<Vec<String>>,
    /// Whether the strict reader takes the file.
    strict: bool,
}

const SCRIPT: &str = r#"
import csv, io, json, sys
def read(text, delimiter, strict):
    return [record for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)]
answers = []
for text, delimiter in json.load(sys.stdin):
    try:
        read(text, delimiter, True)
        strict = True
    except csv.Error:
        strict = False
    answers.append({"records": read(text, delimiter, False), "strict": strict})
json.dump(answers, sys.stdout)
"#;

fn read_with_python(samples: &[Sample]) -> Vec<Python> {
    let input: Vec<_> = samples.iter().map(|s| json!([s.text, s.delimiter])).collect();
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which the local AWS engine needs, too");
    let mut stdin = python.stdin.take().expect("a pipe");
    let writing = std::thread::spawn(move || stdin.write_all(json!(input).to_string().as_bytes()));
    let output = python.wait_with_output().expect("an answer");
    writing.join().expect("a thread").expect("all was read");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The records below the header that COPY reads, or `None` if it refuses the file.
async fn read_with_copy(client: &Client, sample: &Sample) -> Option<Vec<[String; 3]>> {
    client.batch_execute("TRUNCATE copied").await.expect("an empty table");
    let sql = format!(
        "COPY copied (sku, code, serial) FROM STDIN (FORMAT csv, HEADER, DELIMITER E'{}')",
        sample.delimiter.escape_default()
    );
    let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await.expect("a COPY"));
    sink.send(Bytes::from(sample.text.clone())).await.ok()?;
    sink.finish().await.ok()?;
    let rows = client
        .query(
            "SELECT coalesce(sku, ''), coalesce(code, ''), coalesce(serial, '') FROM copied ORDER BY n",
            &[],
        )
        .await;
    Some(rows.expect("rows").iter().map(|row| [row.get(0), row.get(1), row.get(2)]).collect())
}

fn is_blank(record: &[String]) -> bool {
    record.iter().all(|field| field.bytes().all(|byte| byte.is_ascii_whitespace()))
}

/// Compares with Python, record by record.
fn compare_with_python(sample: &Sample, ours: &[Outcome], python: &Python) {
    let records: Vec<&Vec<String>> = python.records[1..].iter().filter(|record| !is_blank(record)).collect();
    assert_eq!(ours.len(), records.len(), "{sample:?}: {ours:?} {records:?}");
    for (ours, record) in ours.iter().zip(&records) {
        let field = |column: usize| record.get(column).cloned().unwrap_or_default();
        match ours {
            Ok(row) => {
                assert!(record.len() <= 3, "{sample:?}: {record:?}");
                let code = field(1).trim_matches(|c: char| c.is_ascii_whitespace()).to_owned();
                assert_eq!(*row, [field(0), code, field(2)], "{sample:?}");
            }
            Err((RejectReason::ExtraFields, _)) => assert!(record.len() > 3, "{sample:?}: {record:?}"),
            Err((RejectReason::EmptyCode, _)) => {
                assert!(field(1).trim().is_empty(), "{sample:?}: {record:?}")
            }
            Err((RejectReason::ControlCharacter, _)) => {
                assert!(
                    record.iter().any(|field| field.contains(char::is_control)),
                    "{sample:?}: {record:?}"
                );
            }
            Err((RejectReason::MalformedQuotes, _)) => assert!(!sample.regular, "{sample:?}"),
            Err(other) => panic!("{other:?} of {record:?} in {sample:?}"),
        }
    }
    let malformed = ours.iter().any(|outcome| matches!(outcome, Err((RejectReason::MalformedQuotes, _))));
    assert!(
        python.strict || malformed,
        "{sample:?}: Python's strict reader refuses it, and we take all of it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_is_what_python_and_copy_read() {
    let mut runner = TestRunner::default();
    let mut samples: Vec<Sample> =
        (0..FILES).map(|_| sample().new_tree(&mut runner).unwrap().current()).collect();
    samples.extend(around_buffers());
    let pythons = read_with_python(&samples);
    let db = TestDb::new().await;
    let client = db.connect_as_admin().await;
    let table = "CREATE TEMPORARY TABLE copied (n bigint GENERATED ALWAYS AS IDENTITY, sku text, code text, serial text)";
    client.batch_execute(table).await.expect("a table");

    let (mut compared, mut copied) = (0, 0);
    for (sample, python) in samples.iter().zip(&pythons) {
        let ours = match read_ours(&sample.text).await {
            Ok(ours) => ours,
            Err(FaultReason::UnterminatedQuote) => {
                assert!(!python.strict || sample.is_torn(), "{sample:?}");
                continue;
            }
            Err(FaultReason::HeaderOnly) => {
                assert!(python.records[1..].iter().all(|record| is_blank(record)), "{sample:?}");
                continue;
            }
            // No record was read as it was meant; a reader by one delimiter can't tell.
            Err(FaultReason::DelimiterMismatch) => continue,
            Err(other) => panic!("{other:?}: {sample:?}"),
        };
        if sample.is_torn() {
            continue;
        }
        compare_with_python(sample, &ours, python);
        compared += 1;
        if sample.regular {
            let taken: Vec<[String; 3]> = ours.into_iter().map(|outcome| outcome.expect("a row")).collect();
            assert_eq!(read_with_copy(&client, sample).await.as_ref(), Some(&taken), "{sample:?}");
            copied += 1;
        }
    }
    assert!(compared > FILES / 2 && copied > FILES / 10, "{compared} with Python, {copied} with COPY");
}

/// The files that the fuzzer has found to differ for the reader.
#[test]
fn the_fuzzers_files_are_read_the_same_whole_and_in_pieces() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let files: Vec<_> = std::fs::read_dir(folder).expect(folder).collect();
    assert!(files.len() > 20, "{}", files.len());
    for file in files {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("its bytes");
        let checked = std::panic::catch_unwind(|| onceload_tests::any_bytes::check(&bytes));
        assert!(checked.is_ok(), "{}", path.display());
    }
}
