//! The n-th code: a bijection from an index to a text, so that no set of used codes has to be kept.
//!
//! Production holds the indexes below `production`, the files' new codes are those from there on.

use super::random::mix;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HALF: u64 = (1 << 30) - 1;
/// Twelve characters of five bits: the 60 bits that the permutation works on.
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
    /// With `unusual`, about 1 in 50 codes is one that careless handling would merge, cut or trip over:
    /// another code in lower case, letters outside ASCII, delimiters and quotes, inner spaces, 255 bytes.
    pub fn new(seed: u64, unusual: bool) -> Self {
        let keys = [1, 2, 3, 4].map(|round: u64| mix(seed ^ mix(round)));
        Self { keys, unusual }
    }

    /// Appends the code of `index`. Two indexes never give the same bytes: the first twelve letters and
    /// digits tell the index, and lower case is only used for twins.
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
                i if i % 761 == 2 => out.extend_from_slice(b" 7\tX"),
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
    fn codes_are_distinct_trimmed_and_short_enough() {
        for unusual in [false, true] {
            let codes = Codes::new(7, unusual);
            let mut seen = HashSet::new();
            for index in 0..200_000 {
                let mut code = Vec::new();
                codes.append(index, &mut code);
                assert!((12..=LONGEST).contains(&code.len()), "{index}: {} bytes", code.len());
                assert_eq!(code.trim_ascii(), code);
                assert!(std::str::from_utf8(&code).is_ok());
                assert!(seen.insert(code), "{index} repeats a code");
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
