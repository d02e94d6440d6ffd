//! Looks for bytes that the reader of files can't take. `cargo xtask fuzz` builds and runs it.

#![no_main]

#[path = "../../src/any_bytes.rs"]
mod any_bytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_bytes::check(bytes));
