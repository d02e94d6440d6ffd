//! Names of files: which of them an import takes. Every door asks here; the command line includes this very file.

/// What a name says about its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    /// An import takes it.
    Importable,
    /// A tool has left it beside the files; it holds no codes.
    Marker,
    /// Neither: somebody has to say what it is.
    Unknown,
}

/// The rule, for people.
pub const RULE: &str = "a name ends in .csv, .tsv or .txt, followed by .gz or .zst if the file is compressed; it does not begin with a dot, and capitals are fine";

const ENDINGS: [&str; 3] = [".csv", ".tsv", ".txt"];
const COMPRESSED: [&str; 2] = [".gz", ".zst"];

impl FileName {
    /// Judges a name, or the last part of a key.
    pub fn of(key: &str) -> Self {
        let name = key.rsplit('/').next().unwrap_or(key);
        // Folders of the S3 console and of Hadoop, Finder's and its AppleDouble files, and Spark's end of a job.
        let is_marker = name.is_empty()
            || name.ends_with("_$folder$")
            || name.starts_with("._")
            || matches!(name, ".DS_Store" | "_SUCCESS");
        if is_marker {
            return Self::Marker;
        }
        if name.starts_with('.') {
            return Self::Unknown;
        }
        let lower = name.to_ascii_lowercase();
        let plain = COMPRESSED.iter().find_map(|ending| lower.strip_suffix(ending)).unwrap_or(&lower);
        if ENDINGS.iter().any(|ending| plain.ends_with(ending)) { Self::Importable } else { Self::Unknown }
    }
}
