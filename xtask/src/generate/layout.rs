//! The layout of one file: its columns and their headers, delimiter, line ends, quoting and compression.

use super::plan::{Compression, LayoutKind, Plan};
use super::random::Random;

/// The field that a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Code,
    Serial,
    Sku,
    Points,
    SkuName,
    BatchCode,
    Price,
    WindowStart,
    WindowEnd,
    MerchantId,
    /// A column that an import ignores.
    Unknown,
}

/// One column: its field, and its name in the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub field: Field,
    pub name: &'static str,
}

/// The format of window dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dates {
    Day,
    /// A date and a time, such as `2026-01-31T08:30:00Z`.
    Time,
    Either,
}

/// The compression of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    /// Several gzip members. The first one has only the header.
    GzipMembers,
    Zstd,
}

impl Packing {
    /// The extension of the file's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::None => ".csv",
            Self::Gzip | Self::GzipMembers => ".csv.gz",
            Self::Zstd => ".csv.zst",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub columns: Vec<Column>,
    pub delimiter: u8,
    pub crlf: bool,
    pub bom: bool,
    /// Every field is quoted.
    pub quote_all: bool,
    /// The last line has no line end.
    pub open_end: bool,
    /// Some codes have spaces around them, some texts have delimiters, quotes and line ends, and some values are empty.
    pub messy: bool,
    /// Some records end after their last value.
    pub short_records: bool,
    pub merchant_in_capitals: bool,
    pub dates: Dates,
    pub packing: Packing,
}

impl Layout {
    /// The layout of the file at `position`.
    pub(super) fn of(plan: &Plan, position: u64) -> Self {
        let mut random = Random::new(plan.seed, 1_000 + position);
        let mut layout = match plan.layout {
            LayoutKind::Plain => plain(),
            LayoutKind::Mixed => mixed(position, &mut random),
        };
        layout.packing = match plan.compression {
            Compression::None => Packing::None,
            Compression::Gzip => Packing::Gzip,
            Compression::Zstd => Packing::Zstd,
            Compression::Mixed => {
                [Packing::None, Packing::Gzip, Packing::Zstd, Packing::None, Packing::GzipMembers]
                    [(position % 5) as usize]
            }
        };
        layout
    }

    pub(super) fn has(&self, field: Field) -> bool {
        self.columns.iter().any(|column| column.field == field)
    }

    pub(super) fn line_end(&self) -> &'static [u8] {
        if self.crlf { b"\r\n" } else { b"\n" }
    }
}

fn columns(names: &[(Field, &'static str)]) -> Vec<Column> {
    names.iter().map(|&(field, name)| Column { field, name }).collect()
}

fn plain() -> Layout {
    Layout {
        columns: columns(&[
            (Field::Code, "code"),
            (Field::Serial, "serial"),
            (Field::Sku, "sku"),
            (Field::Points, "points"),
            (Field::SkuName, "sku_name"),
            (Field::BatchCode, "batch_code"),
            (Field::Price, "price"),
            (Field::WindowStart, "window_start"),
            (Field::WindowEnd, "window_end"),
        ]),
        delimiter: b',',
        crlf: false,
        bom: false,
        quote_all: false,
        open_end: false,
        messy: false,
        short_records: false,
        merchant_in_capitals: false,
        dates: Dates::Day,
        packing: Packing::None,
    }
}

/// Takes eight layouts in turn. From the ninth file on, the columns are shuffled as well.
fn mixed(position: u64, random: &mut Random) -> Layout {
    let mut layout = match position % 8 {
        0 => everything(),
        1 => spreadsheet_export(),
        2 => tab_separated(),
        3 => pipe_separated(),
        4 => codes_only(),
        5 => code_last(),
        6 => short_records(),
        _ => with_merchant_first(),
    };
    if position >= 8 && !layout.short_records {
        random.shuffle(&mut layout.columns);
    }
    layout
}

fn everything() -> Layout {
    let mut layout = plain();
    layout.columns.push(Column { field: Field::MerchantId, name: "merchant_id" });
    layout.dates = Dates::Either;
    Layout { messy: true, ..layout }
}

fn spreadsheet_export() -> Layout {
    Layout {
        columns: columns(&[
            (Field::Code, "Code"),
            (Field::Serial, "SERIAL_NUMBER"),
            (Field::BatchCode, "Batch ID"),
            (Field::SkuName, "Product Name"),
            (Field::Points, "Points"),
            (Field::Price, "Price"),
            (Field::WindowStart, "Window_Start"),
            (Field::WindowEnd, "Window_End"),
        ]),
        delimiter: b';',
        crlf: true,
        bom: true,
        quote_all: true,
        messy: true,
        ..plain()
    }
}

fn tab_separated() -> Layout {
    Layout {
        columns: columns(&[
            (Field::Serial, "serial_number"),
            (Field::Unknown, "printed_on"),
            (Field::Code, "code"),
            (Field::Sku, "sku"),
            (Field::SkuName, "product_name"),
            (Field::Points, "points"),
        ]),
        delimiter: b'\t',
        messy: true,
        ..plain()
    }
}

fn pipe_separated() -> Layout {
    Layout {
        columns: columns(&[
            (Field::WindowStart, "window_start"),
            (Field::WindowEnd, "window_end"),
            (Field::Code, "CODE"),
            (Field::MerchantId, "merchant_id"),
            (Field::Price, "price"),
        ]),
        delimiter: b'|',
        crlf: true,
        open_end: true,
        merchant_in_capitals: true,
        dates: Dates::Time,
        ..plain()
    }
}

fn codes_only() -> Layout {
    Layout { columns: columns(&[(Field::Code, "code")]), messy: true, ..plain() }
}

fn code_last() -> Layout {
    Layout {
        columns: columns(&[
            (Field::SkuName, "sku_name"),
            (Field::Unknown, "Note, internal"),
            (Field::BatchCode, "batch_id"),
            (Field::Points, "points"),
            (Field::Code, "code"),
        ]),
        messy: true,
        open_end: true,
        ..plain()
    }
}

fn short_records() -> Layout {
    Layout {
        columns: columns(&[
            (Field::Code, " Code "),
            (Field::Points, " POINTS"),
            (Field::Price, "price "),
            (Field::SkuName, "sku_name"),
            (Field::WindowEnd, "window_end"),
        ]),
        delimiter: b';',
        messy: true,
        short_records: true,
        ..plain()
    }
}

fn with_merchant_first() -> Layout {
    Layout {
        columns: columns(&[
            (Field::MerchantId, "Merchant_ID"),
            (Field::Serial, "serial"),
            (Field::Sku, "sku"),
            (Field::Code, "code"),
            (Field::Points, "points"),
            (Field::Unknown, "region"),
            (Field::WindowStart, "window_start"),
        ]),
        bom: true,
        crlf: true,
        dates: Dates::Either,
        ..plain()
    }
}
