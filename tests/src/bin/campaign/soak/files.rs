//! The files of a plan: the same bytes whenever they are written.

use super::plan::File;

/// The code with this number.
fn code(number: u64) -> String {
    format!("C-{:06}-{:04x}", number, number.wrapping_mul(2_654_435_761) & 0xffff)
}

impl File {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with_header("code,serial,points")
    }

    /// The same records, named as a migration's mapping names them.
    pub(super) fn bytes_to_map(&self) -> Vec<u8> {
        self.with_header("Voucher,Serial No,Value")
    }

    fn with_header(&self, header: &str) -> Vec<u8> {
        let mut text = format!("{header}\n");
        for n in 0..self.rows {
            text += &format!("{},S{n},{}\n", code(self.from + n), n % 500);
            if n < self.doubled {
                text += &format!("{},T{n},1\n", code(self.from + n));
            }
        }
        for n in 0..self.rejected {
            text += &format!("BAD-{n},S,many\n");
        }
        if self.broken {
            text += "\"C-open,S,1\n";
        }
        text.into_bytes()
    }
}
