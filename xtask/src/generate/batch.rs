//! Writes a batch: its files, the production codes, the manifest and the expected counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::codes::Codes;
use super::expected::{Expected, ExpectedFile};
use super::faults::Fault;
use super::layout::Layout;
use super::plan::{LayoutKind, Plan};
use super::random::Random;
use super::record::{Days, RecordWriter};
use super::sequence::{Kind, Sequence};
use super::sink::Sink;
use crate::{Context, Error, Result, interrupt};

/// The name of the file that starts an import of a `stage/` batch.
pub const MANIFEST: &str = "manifest.json";
/// The name of the file with the merchant's codes before the import, as lines for `COPY ... (code) FROM STDIN`.
pub const PRODUCTION: &str = "production.copy";
/// The name of the file with [`Expected`] as JSON.
pub const EXPECTED: &str = "expected.json";

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The number of bytes to collect before writing to the file.
const PIECE: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Manifest {
    files: Vec<String>,
}

/// Writes a batch into `out_dir`, which it creates if necessary, and removes the files of an earlier batch there. Needs
/// constant memory.
pub fn generate(plan: &Plan, out_dir: &Path) -> Result<Expected> {
    generate_with(plan, out_dir, |_, _| {})
}

/// Like [`generate`], and reports the number of written files and records at most ten times a second. An interrupt ends it
/// before it writes the manifest.
pub fn generate_with(plan: &Plan, out_dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Expected> {
    plan.check().map_err(|error| Error::advice(format!("impossible plan: {error}")))?;
    fs::create_dir_all(out_dir).context(|| format!("create {}", out_dir.display()))?;
    remove_earlier(out_dir)?;
    let codes = Codes::new(plan.seed, plan.layout == LayoutKind::Mixed);
    let days = Days::new();
    let mut sequence = Sequence::new(plan);
    let mut rejects = [0; Fault::ALL.len()];
    let mut expected = Expected::of(plan);
    let digits = plan.files.to_string().len().max(4);
    let mut done = 0;
    let mut reported = Instant::now();
    for (position, rows) in (0..).zip(plan.rows_per_file()) {
        let layout = Layout::of(plan, position);
        let name = format!("codes-{:0digits$}{}", position + 1, layout.packing.suffix());
        let random = Random::new(plan.seed, 1_000_000 + position);
        let records = RecordWriter::new(&layout, &codes, &days, &plan.merchant_id, random);
        let path = out_dir.join(&name);
        let mut file = ExpectedFile { name, records: rows, ..ExpectedFile::default() };
        let mut report = |written| {
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                progress(position, done + written);
            }
            !interrupt::requested()
        };
        let written =
            write_file(&path, &layout, records, &mut sequence, &mut rejects, &mut file, &mut report);
        interrupt::check()?;
        written.context(|| format!("write {}", path.display()))?;
        expected.files.push(file);
        done += rows;
    }
    expected.rejects_by_reason = count_by_reason(&rejects);
    write_production(plan, &codes, &out_dir.join(PRODUCTION))?;
    let manifest = Manifest { files: expected.files.iter().map(|file| file.name.clone()).collect() };
    write_json(&out_dir.join(MANIFEST), &manifest)?;
    write_json(&out_dir.join(EXPECTED), &expected)?;
    Ok(expected)
}

fn write_file(
    path: &Path,
    layout: &Layout,
    mut records: RecordWriter<'_>,
    sequence: &mut Sequence,
    rejects: &mut [u64; Fault::ALL.len()],
    file: &mut ExpectedFile,
    go_on: &mut impl FnMut(u64) -> bool,
) -> std::io::Result<()> {
    let mut sink = Sink::create(path, layout.packing)?;
    let mut piece = Vec::with_capacity(PIECE + 8 * 1024);
    records.write_header(&mut piece);
    // Written separately, so that the first of several gzip members has only the header.
    sink.write(&piece)?;
    piece.clear();
    for number in 0..file.records {
        let kind = if number == 0 { sequence.first_of_file() } else { sequence.next_of_file() };
        let mut blank = false;
        match kind {
            Kind::Clean(index) | Kind::Existing(index) | Kind::Internal(index) | Kind::Both(index) => {
                records.write_staged(index, &mut piece);
                file.staged += 1;
            }
            Kind::Rejected(index) => {
                let fault = find_rarest_fault(rejects, layout);
                records.write_rejected(index, fault, &mut piece);
                rejects[fault as usize] += 1;
                file.rejected += 1;
            }
            Kind::Skipped => {
                blank = records.write_skipped(&mut piece);
                file.skipped += 1;
            }
        }
        let last = number + 1 == file.records;
        // A blank line needs its line end, even as the last line.
        if !(last && layout.open_end) || blank {
            piece.extend_from_slice(layout.line_end());
        }
        if piece.len() >= PIECE {
            sink.write(&piece)?;
            piece.clear();
            if !go_on(number + 1) {
                break;
            }
        }
    }
    sink.write(&piece)?;
    file.bytes = sink.finish()?;
    Ok(())
}

/// Finds the fault with the fewest rejects so far, among those that the layout can have.
fn find_rarest_fault(rejects: &[u64; Fault::ALL.len()], layout: &Layout) -> Fault {
    let mut rarest = Fault::TooLong;
    let mut least = u64::MAX;
    for fault in Fault::ALL {
        if rejects[fault as usize] < least && fault.fits(layout) {
            (rarest, least) = (fault, rejects[fault as usize]);
        }
    }
    rarest
}

fn count_by_reason(rejects: &[u64; Fault::ALL.len()]) -> BTreeMap<String, u64> {
    Fault::ALL
        .into_iter()
        .filter(|&fault| rejects[fault as usize] > 0)
        .map(|fault| (fault.reason().to_owned(), rejects[fault as usize]))
        .collect()
}

fn write_production(plan: &Plan, codes: &Codes, path: &Path) -> Result<()> {
    File::create(path)
        .and_then(|file| {
            let mut out = BufWriter::with_capacity(PIECE, file);
            copy_lines(codes, 0..plan.production, &mut out)?;
            out.flush()
        })
        .context(|| format!("write {}", path.display()))
}

/// Writes codes as lines of COPY's text format. Indexes below `production` are the codes before the import; the next
/// `clean` ones are the new codes of the files.
pub fn copy_lines(
    codes: &Codes,
    indexes: std::ops::Range<u64>,
    out: &mut (impl Write + ?Sized),
) -> std::io::Result<()> {
    let mut line = Vec::with_capacity(512);
    let mut escaped = Vec::with_capacity(512);
    for index in indexes {
        line.clear();
        escaped.clear();
        codes.append(index, &mut line);
        for &byte in &line {
            match byte {
                b'\\' => escaped.extend_from_slice(b"\\\\"),
                b'\t' => escaped.extend_from_slice(b"\\t"),
                b'\n' => escaped.extend_from_slice(b"\\n"),
                b'\r' => escaped.extend_from_slice(b"\\r"),
                other => escaped.push(other),
            }
        }
        escaped.push(b'\n');
        out.write_all(&escaped)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context(|| format!("render {}", path.display()))?;
    fs::write(path, text + "\n").context(|| format!("write {}", path.display()))
}

/// Removes the files that the manifest of an earlier batch names, and the manifest. Leaves other files alone.
fn remove_earlier(out_dir: &Path) -> Result<()> {
    let path = out_dir.join(MANIFEST);
    let Ok(text) = fs::read(&path) else { return Ok(()) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(()) };
    let ours = |name: &&String| name.starts_with("codes-") && !name.contains('/');
    let names =
        manifest.files.iter().filter(ours).map(String::as_str).chain([PRODUCTION, EXPECTED, MANIFEST]);
    for name in names {
        match fs::remove_file(out_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {name} of an earlier batch"));
            }
            _ => {}
        }
    }
    Ok(())
}
