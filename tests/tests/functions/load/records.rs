//! What each record of a file becomes, by the layout and the reader that checking and loading use.

use shared::csv::layout::read_layout;
use shared::csv::records::ReadError;
use shared::csv::rows::Rows;
use shared::domain::fault::{Fault, FaultReason};
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::layout::Compression;
use std::io::Cursor;
use uuid::Uuid;

const MERCHANT: MerchantId = MerchantId(Uuid::from_u128(0xabc));

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What became of a file: each record as `code points`, or `line reason`, and how many were skipped.
type Found = (Vec<String>, i64);

async fn read_file(text: &[u8]) -> Result<Found, Fault> {
    let layout = read_layout(text, true, Compression::None, &Mapping::new()).await?;
    let mut rows = Rows::new(Box::pin(Cursor::new(text.to_vec())), &layout, MERCHANT, 100);
    let mut found = Vec::new();
    loop {
        match rows.next().await {
            Ok(false) => return Ok((found, rows.skipped())),
            Ok(true) => {}
            Err(ReadError::File(fault)) => return Err(fault),
            Err(ReadError::Source(error)) => panic!("{error}"),
        }
        let line = rows.line();
        found.push(match rows.row() {
            Ok(row) => format!("{} {:?}", row.code, row.points.unwrap_or(-1)),
            Err(reject) => format!("{line} {}", reject.reason.as_str()),
        });
    }
}

fn read(text: &str) -> Result<Found, FaultReason> {
    block_on(read_file(text.as_bytes())).map_err(|fault| fault.reason)
}

fn records(text: &str) -> Vec<String> {
    read(text).expect(text).0
}

#[test]
fn the_header_is_read_as_the_records_are() {
    assert_eq!(
        records("code,sku_name,size 12\",points,price\nA,Pizza,12\",100,9.99\nB,Pasta,8,200,4.50\n"),
        ["A 100", "B 200"]
    );
    assert_eq!(records("code,W 5\",H 7\",points,price\nA,1,2,100,9.99\n"), ["A 100"]);
    assert_eq!(records("code,size 5\",points\nA,x,10\n"), ["A 10"]);
    assert_eq!(records("code,\"a \\\" b\",points\nA,x,10\n"), ["A 10"]);
    assert_eq!(records("\"\u{feff}code\",\"points\"\n\"A\",\"10\"\n"), ["A 10"]);
    assert_eq!(records("code;\"a\nb\";points\nA;x;10\n"), ["A 10"]);
}

#[test]
fn malformed_quotes_are_rejected() {
    for record in ["\"A\\\"1\",10", "\"A\"x,10", "\"A\"-\"2\",20", "\"A\" ,1", " \"A\",1"] {
        assert_eq!(
            records(&format!("code,points\n{record}\nB,2\n")),
            ["2 malformed_quotes", "B 2"],
            "{record}"
        );
    }
    assert_eq!(records("code,sku,points\nA,5\" nail,10\n"), ["A 10"]);
}

#[test]
fn control_characters_are_rejected() {
    for code in ["A\u{1}", "\u{1b}A", "A\u{7f}B", "A\u{85}B", "A\u{2028}B", "\"A\n1\"", "\"A\r\n2\"", "A\tB"]
    {
        let found = records(&format!("code,points\n{code},1\nB,2\n"));
        assert_eq!(found, ["2 control_character", "B 2"], "{code:?}");
    }
    assert_eq!(records("code,sku,points\nA,\"two\nlines\tof it\",1\n\"B\n\",x,2\n"), ["A 1", "B 2"]);
    assert_eq!(records("code,sku,points\nA,x\u{b}y,1\n"), ["2 control_character"]);
}

#[test]
fn a_cr_ends_a_record_only_in_a_file_of_cr() {
    assert_eq!(records("code,sku_name,points\nA,two\rlines,1\nB,x,2\n"), ["2 control_character", "B 2"]);
    assert_eq!(records("code,points\r\nA,1\r\nB,x\ry\r\nC,3"), ["A 1", "3 control_character", "C 3"]);
    assert_eq!(records("code,points\rA,1\rB,bad\rC,3"), ["A 1", "3 invalid_points", "C 3"]);
    assert_eq!(
        records("code,points\rA,1\r\"B\r3\",x\rC,bad\r"),
        ["A 1", "3 control_character", "5 invalid_points"]
    );
    for ends in ["\n\r", "\r\r\n", "\r\n", "\n", "\r"] {
        assert_eq!(records(&["code,points", "A,1", "", "B,2", ""].join(ends)), ["A 1", "B 2"], "{ends:?}");
    }
}

#[test]
fn the_end_of_file_mark_of_dos_is_skipped() {
    assert_eq!(read("code,points\r\nA,1\r\n\u{1a}"), Ok((vec!["A 1".into()], 1)));
    assert_eq!(read("code,points\nA,1\n\u{1a}\n\n"), Ok((vec!["A 1".into()], 2)));
    let within = records("code,points\nA,1\n\u{1a}\n\u{1a}\nB,2\n");
    assert_eq!(within, ["A 1", "3 control_character", "4 control_character", "B 2"]);
}

#[test]
fn blank_lines_cost_nothing() {
    let blank = "\n".repeat(3 << 20);
    assert_eq!(read(&format!("{blank}code,points\nA,1\n")), Ok((vec!["A 1".into()], 0)));
    assert_eq!(
        read(&format!("code,points\nA,1\n{blank}B,x\n")),
        Ok((vec!["A 1".into(), format!("{} invalid_points", (3 << 20) + 3)], 3 << 20))
    );
    for end in ["\r\n", "\r"] {
        let text = format!("code,points{end}A,1{end}{}", end.repeat(2 << 20));
        assert_eq!(read(&text), Ok((vec!["A 1".into()], 2 << 20)), "{end:?}");
    }
}

#[test]
fn another_delimiter_than_the_header_s_is_a_fault() {
    for text in [
        "code,points\nA;1\nB;2\n",
        "code;points\nA,1\nB,2\n",
        "code,points,sku\n\"A\"|1|x\n\nB|2|y\n",
        "code,points\n\"A,1\"\n\"B,2\"\n",
        "code;points\n\"A;1\"\n",
        "code;points\r\n\"A,1\"\r\n",
    ] {
        assert_eq!(read(text), Err(FaultReason::DelimiterMismatch), "{text}");
    }
    for text in [
        "code,points\nA;1\nB\n",
        "code,points\nA;1\nB,2\n",
        "code,points\nA\nB\n",
        "code\nA;1\n",
        "code,points\nA;1;2\n",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
}

#[test]
fn an_empty_merchant_is_that_of_the_import() {
    assert_eq!(records("code,merchant_id\nA,\nB\nC, \n"), ["A -1", "B -1", "C -1"]);
}

#[test]
fn the_exact_name_comes_before_the_folded_one() {
    assert_eq!(records("Code,code\nB,A\n"), ["A -1"]);
    assert_eq!(read("Code,CODE\nB,A\n"), Err(FaultReason::DuplicateColumn));
    assert_eq!(read("code,batch_code,batch_id\nB,A,A\n"), Err(FaultReason::DuplicateColumn));
}
