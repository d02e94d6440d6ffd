//! From bytes to rows: decompression, records, layout detection, the rules of a row. Knows no S3 and no database.

pub mod decompress;
mod foreign;
pub mod head;
pub mod layout;
mod mismatch;
pub mod records;
pub mod row;
pub mod rows;
mod scan;
mod tee;
pub mod text;
mod values;
mod warnings;
