//! Inspects a file that is to be loaded: its layout from the head, and a sample of its codes.

use shared::csv::records::{Next, Records};
use shared::csv::row::Record;
use shared::domain::fault::Fault;
use shared::domain::field::{Field, Mapping};
use shared::domain::layout::{Compression, Layout};
use shared::domain::object::FrozenObject;
use shared::domain::step::StepResult;
use shared::s3::objects::Objects;
use shared::source::inspect::{HEAD_BYTES, read_head};
use std::io::Cursor;

/// How many places inside of a large file the sample is taken from, how many bytes at each, and how many codes.
const PROBES: i64 = 3;
const PROBE_BYTES: i64 = 16 * 1024;
const CODES_PER_PLACE: usize = 100;

/// What inspecting a file found.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    /// Its layout.
    pub(crate) layout: Layout,
    /// Codes from several places of the file; they only decide where staging is cut.
    pub(crate) sample: Vec<String>,
}

/// Reads the head of a file, its layout, and a sample of its codes.
pub(crate) async fn inspect(
    objects: &Objects,
    object: &FrozenObject,
    mapping: &Mapping,
    probe: bool,
) -> StepResult<Result<Inspected, Fault>> {
    let (layout, head) = match read_head(objects, object, mapping).await? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    let layout = Layout { density: head.density(), ..layout };
    let mut sample = sample_codes(&head.text, &layout, 1).await;
    if probe && layout.compression == Compression::None && object.bytes > 8 * HEAD_BYTES {
        for place in 1..=PROBES {
            let at = object.bytes / (PROBES + 1) * place;
            let piece = match objects.range(object, at..=at + PROBE_BYTES - 1).await? {
                Ok(piece) => piece,
                Err(fault) => return Ok(Err(fault)),
            };
            // The first line is torn.
            let from = piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |i| i + 1);
            sample.extend(sample_codes(&piece[from..], &layout, 0).await);
        }
    }
    Ok(Ok(Inspected { layout, sample }))
}

/// The codes of the first whole records of a piece of text, without the first `skip` records.
async fn sample_codes(text: &[u8], layout: &Layout, skip: usize) -> Vec<String> {
    let Some(column) = layout.column(Field::Code) else { return Vec::new() };
    // The last line may be incomplete.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
    let mut records =
        Records::new(Box::pin(Cursor::new(text[..whole].to_vec())), layout.delimiter, layout.line_end);
    let mut codes = Vec::new();
    let mut seen = 0;
    while codes.len() < CODES_PER_PLACE && matches!(records.next().await, Ok(Next::Record)) {
        seen += 1;
        let code = records
            .fields()
            .get(column)
            .map(<[u8]>::trim_ascii)
            .and_then(|code| std::str::from_utf8(code).ok());
        if seen > skip
            && records.fields().len() <= layout.columns.len()
            && let Some(code) = code.filter(|code| (1..=255).contains(&code.len()) && !code.contains('\0'))
        {
            codes.push(code.to_owned());
        }
    }
    codes
}
