//! From bytes to rows: decompression, records, layout detection, the rules of a row. Knows no S3 and no database.

pub mod decompress;
pub mod head;
pub mod layout;
pub mod records;
pub mod row;
pub mod rows;
mod scan;
pub mod text;
mod values;
