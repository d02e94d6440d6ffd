//! PostgreSQL's `hashtextextended(code, 0)`, of which the checksums of an import are made: the verification computes the same in the
//! database. It is Bob Jenkins' lookup3 over little-endian words (PostgreSQL, src/common/hashfn.c, `hash_bytes_extended`), the same
//! in every release, because hash partitions depend on it.

/// The hash of a text by its bytes.
pub(crate) fn hash_text(text: &[u8]) -> i64 {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
    let mut state = [start; 3];
    let mut blocks = text.chunks_exact(12);
    for block in &mut blocks {
        add(&mut state, block);
        mix(&mut state);
    }
    let mut rest = [0; 12];
    let tail = blocks.remainder();
    // The lowest byte of the last word is left to the length.
    let (head, last) = tail.split_at(tail.len().min(8));
    rest[..head.len()].copy_from_slice(head);
    rest[9..9 + last.len()].copy_from_slice(last);
    add(&mut state, &rest);
    let [_, high, low] = finish(state);
    (u64::from(high) << 32 | u64::from(low)).cast_signed()
}

fn add(state: &mut [u32; 3], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.chunks_exact(4)) {
        *word = word.wrapping_add(bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: u32, bits| {
        *x = x.wrapping_sub(*y) ^ y.rotate_left(bits);
        *y = y.wrapping_add(z);
    };
    step(a, c, *b, 4);
    step(b, a, *c, 6);
    step(c, b, *a, 8);
    step(a, c, *b, 16);
    step(b, a, *c, 19);
    step(c, b, *a, 4);
}

fn finish([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    let step = |x: &mut u32, y: u32, bits| *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    step(&mut c, b, 14);
    step(&mut a, c, 11);
    step(&mut b, a, 25);
    step(&mut c, b, 16);
    step(&mut a, c, 4);
    step(&mut b, a, 14);
    step(&mut c, b, 24);
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `SELECT hashtextextended(..., 0)` of PostgreSQL 15.
    #[test]
    fn it_is_the_servers_hash() {
        for (text, hash) in SERVER {
            assert_eq!(hash_text(text.as_bytes()), hash, "{text:?}");
        }
    }

    const SERVER: [(&str, i64); 12] = [
        ("", -6_939_563_903_564_495_251),
        ("a", 3_591_986_179_850_072_241),
        ("abc", -6_747_756_470_228_489_321),
        ("abcd", -1_038_429_303_365_892_052),
        ("abcde", 3_076_356_108_696_143_428),
        ("abcdefgh", -8_882_191_227_074_733_005),
        ("abcdefghi", -3_278_210_106_038_014_113),
        ("abcdefghijk", 3_112_909_444_737_856_467),
        ("abcdefghijkl", -7_556_637_188_122_330_412),
        ("abcdefghijklm", 8_871_624_171_452_417_744),
        ("Grüße-2026", 5_827_419_763_246_822_065),
        ("PROMO-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ", -3_272_000_039_622_039_914),
    ];
}
