//! Objects of the bucket: reading, linking, uploading. Knows no database.

pub mod gzip_upload;
pub mod objects;
pub mod uploads;
