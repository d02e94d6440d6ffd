//! How many late duplicates an approval still covers.

/// More late duplicates than this share of the clean codes ask for a new marking and a new approval.
pub const MAX_LATE_SHARE: f64 = 0.01;

/// Whether so many late duplicates are more than an approval covers.
pub fn is_too_late(late: i64, clean: i64) -> bool {
    exceeds(late, clean, MAX_LATE_SHARE)
}

/// Whether a part is more than a share of the whole.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53, where f64 is exact")]
pub fn exceeds(part: i64, whole: i64, share: f64) -> bool {
    part as f64 > whole as f64 * share
}
