//! Maps an index to a code. The mapping is a bijection, so the generator needs no set of used codes.
//!
//! The codes of production have the indexes below `production`. The new codes of the files follow.

use super::random::mix;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HALF: u64 = (1 << 30) - 1;
/// The number of characters, of five bits each, for the 60 bits of the permutation.
const BASE: usize = 12;
/// The longest code that an import accepts, in bytes.
const LONGEST: usize = 255;

/// Maps indexes below 2^60 to codes of mostly 12 to 14 characters.
#[derive(Clone, Debug)]
pub struct Codes {
    keys: [u64; 4],
    unusual: bool,
}

impl Codes {
    /// With `unusual`, about 1 in 50 codes is difficult: another code in lower case, a letter outside ASCII, delimiters
    /// and quotes, inner spaces, or 255 bytes.
    pub fn new(seed: u64, unusual: bool) -> Self {
        let keys = [1, 2, 3, 4].map(|round: u64| mix(seed ^ mix(round)));
        Self { keys, unusual }
    }

    /// Appends the code of `index`. Two indexes never have the same code: the first twelve letters and digits determine
    /// the index, and only twins are in lower case.
    pub fn append(&self, index: u64, out: &mut Vec<u8>) {
        let start = out.len();
        if self.unusual && index % 64 == 63 {
            self.append_own(index - 1, out);
            let own = &mut out[start..];
            if own.iter().any(u8::is_ascii_uppercase) {
                own.make_ascii_lowercase();
                return;
            }
            out.truncate(start);
        }
        self.append_own(index, out);
    }

    fn append_own(&self, index: u64, out: &mut Vec<u8>) {
        let start = out.len();
        if self.unusual && index.is_multiple_of(251) {
            out.extend_from_slice("É".as_bytes());
        }
        let bits = self.permute(index);
        let mut text = [0_u8; BASE];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = ALPHABET[((bits >> (5 * (BASE - 1 - i))) & 31) as usize];
        }
        out.extend_from_slice(&text);
        let tail = mix(bits);
        for i in 0..tail % 3 {
            out.push(ALPHABET[((tail >> (8 + 5 * i)) & 31) as usize]);
        }
        if self.unusual {
            match index {
                i if i % 509 == 1 => out.extend_from_slice(b",\";|"),
                i if i % 761 == 2 => out.extend_from_slice(b" 7  X"),
                i if i % 4093 == 3 => out.resize(start + LONGEST, b'x'),
                _ => {}
            }
        }
    }

    /// A Feistel network of four rounds over two halves of 30 bits.
    fn permute(&self, index: u64) -> u64 {
        let (mut left, mut right) = ((index >> 30) & HALF, index & HALF);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & HALF));
        }
        (left << 30) | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_trimmed_and_at_most_255_bytes_long() {
        for unusual in [false, true] {
            let codes = Codes::new(7, unusual);
            let mut seen = HashSet::new();
            for index in 0..200_000 {
                let mut code = Vec::new();
                codes.append(index, &mut code);
                assert!((12..=LONGEST).contains(&code.len()), "{index}: {} bytes", code.len());
                assert_eq!(code.trim_ascii(), code);
                assert!(std::str::from_utf8(&code).is_ok());
                assert!(seen.insert(code), "index {index} repeats a code");
            }
        }
    }

    #[test]
    fn some_codes_differ_in_case_only() {
        let codes = Codes::new(7, true);
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        codes.append(62, &mut upper);
        codes.append(63, &mut lower);
        assert_ne!(upper, lower);
        assert_eq!(upper.to_ascii_lowercase(), lower);
    }
}
