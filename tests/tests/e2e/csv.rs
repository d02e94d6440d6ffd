//! Small files with known contents.

use std::ops::Range;

/// `A-00001`, `A-00002` ...
pub(crate) fn codes(prefix: &str, range: Range<u32>) -> Vec<String> {
    range.map(|number| format!("{prefix}-{number:05}")).collect()
}

/// A CSV file of these codes, in their order.
pub(crate) fn file<T: AsRef<str>>(codes: &[T]) -> Vec<u8> {
    let mut text = String::from("code,serial,points\n");
    for (number, code) in codes.iter().enumerate() {
        text.push_str(&format!("{},S{number},{}\n", code.as_ref(), number % 1000));
    }
    text.into_bytes()
}
