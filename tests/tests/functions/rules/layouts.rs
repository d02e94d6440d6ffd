//! Reading the layout of a file from its head.

use shared::csv::layout::read_layout;
use shared::domain::fault::FaultReason;
use shared::domain::field::{Field, Mapping};
use shared::domain::layout::{Compression, Layout};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

fn of(text: &[u8]) -> Result<Layout, FaultReason> {
    block_on(read_layout(text, true, Compression::None, &Mapping::new())).map_err(|fault| fault.reason)
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
    let layout = block_on(read_layout(b"voucher,code,serial\nA,B,C\n", true, Compression::None, &mapping))
        .expect("layout");
    assert_eq!(layout.columns, [Some(Field::Code), None, Some(Field::Sku)]);
    let fault =
        block_on(read_layout(b"code\nA\n", true, Compression::None, &mapping)).expect_err("no voucher");
    assert_eq!(fault.reason, FaultReason::MissingColumn);
}
