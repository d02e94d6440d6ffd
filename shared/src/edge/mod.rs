//! The Lambda edge: configuration, S3, the CSV stream, HTTP answers, delivery of messages, counters, and how errors
//! leave a function.

pub mod app;
pub mod aws;
pub mod csv_rows;
pub mod csv_stream;
pub mod deliver;
pub mod gzip_upload;
pub mod http;
pub mod inspect;
pub mod metrics;
pub mod objects;
pub mod once;
pub mod serve;
pub mod sources;
pub mod start;
pub mod tally;
pub mod task;
pub mod uploads;

pub use app::{App, Config};
pub use once::{Done, once};
pub use serve::{Budget, serve_http, serve_step};
