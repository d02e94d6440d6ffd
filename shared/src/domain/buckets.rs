//! Cuts codes into ranges. A job is staged in buckets by range of code; a bucket that comes out too big is cut into chunks
//! when it is marked. Everything compares by bytes, as `COLLATE "C"` does.

/// One bucket per this many bytes of CSV text.
const BYTES_PER_BUCKET: u64 = 16 * 1024 * 1024;
/// Also the number of savepoints of the insert: above 64 subtransactions the backend's cache overflows.
pub const MAX_BUCKETS: usize = 48;
/// The most chunks after big buckets were cut; same reason.
pub const MAX_CHUNKS: usize = 60;
/// A bucket with more rows than this is cut.
pub const ROWS_PER_CHUNK: i64 = 600_000;

/// How many buckets so many bytes of text are staged in.
pub fn bucket_count(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(BYTES_PER_BUCKET)).unwrap_or(MAX_BUCKETS).clamp(1, MAX_BUCKETS)
}

/// Points that cut a sample into `buckets` parts of about the same size: ascending, distinct, at most
/// `buckets - 1` of them. They never matter for correctness, only for balance.
pub fn split_points(mut sample: Vec<String>, buckets: usize) -> Vec<String> {
    sample.sort_unstable();
    let len = sample.len();
    let mut points: Vec<String> = Vec::new();
    for i in 1..buckets {
        let Some(point) = sample.get(i * len / buckets) else { break };
        if !point.is_empty() && points.last().is_none_or(|last| last < point) {
            points.push(point.clone());
        }
    }
    points
}

/// The bucket of a code: bucket `i` holds `points[i - 1] <= code < points[i]`.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    points: Vec<Box<[u8]>>,
}

impl Splitter {
    /// A splitter at these points, in ascending order.
    pub fn new(points: &[String]) -> Self {
        Self { points: points.iter().map(|p| p.as_bytes().into()).collect() }
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.points.len() + 1
    }

    /// The bucket of this code.
    #[inline]
    pub fn bucket_of(&self, code: &[u8]) -> usize {
        self.points.partition_point(|point| point.as_ref() <= code)
    }
}

/// A range of codes, `[lower, upper)`; `None` is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first code of the range.
    pub lower: Option<String>,
    /// The first code after the range.
    pub upper: Option<String>,
}

/// A range of codes inside one bucket: what is marked, and later inserted, in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its place among the chunks of the import, from 0.
    pub number: i32,
    /// The bucket that it is cut from.
    pub bucket: usize,
    /// Its codes.
    pub range: Range,
    /// It is its whole bucket, so staging needs no condition on the code.
    pub whole: bool,
}

impl Range {
    /// Those of the points that cut the range: one at its lower bound would cut off nothing.
    pub fn inside(&self, points: Vec<String>) -> Vec<String> {
        let cuts = |point: &String| {
            self.lower.as_ref().is_none_or(|lower| point > lower)
                && self.upper.as_ref().is_none_or(|upper| point < upper)
        };
        points.into_iter().filter(cuts).collect()
    }
}

/// The ranges that ascending points inside of `outer` cut it into: one more than there are points.
pub fn ranges(outer: &Range, points: &[String]) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut lower = outer.lower.clone();
    for point in points {
        ranges.push(Range { lower, upper: Some(point.clone()) });
        lower = Some(point.clone());
    }
    ranges.push(Range { lower, upper: outer.upper.clone() });
    ranges
}

/// How many parts a bucket is cut into, when `spare` more chunks may be made.
pub fn parts(rows: i64, spare: usize) -> usize {
    if rows <= 2 * ROWS_PER_CHUNK {
        return 1;
    }
    let wanted = usize::try_from((rows + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK).unwrap_or(1);
    wanted.min(spare + 1)
}
