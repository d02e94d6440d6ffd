//! Which codes rows of other tables reference. Foreign keys are found in the catalogue, so their SQL is composed, here alone;
//! names and operators come quoted from `foreign_keys.sql`.

use super::{BASE, FOREIGN_KEYS, HOLD_KEYS, Range};
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::transaction::Transaction;
use tokio_postgres::Row;

/// Why a code stays that another transaction has locked.
const IN_USE: &str = "in_use";

/// The table that holds the codes, and the foreign keys that reference it.
#[derive(Debug, Clone)]
pub struct Production {
    /// Its oid.
    pub(super) table: i64,
    /// Its name, quoted.
    name: String,
    /// It is the table below `onceload.codes`, which is a view.
    below_view: bool,
    keys: Vec<ForeignKey>,
}

#[derive(Debug, Clone)]
struct ForeignKey {
    /// The constraint and its table, for people.
    name: String,
    /// The constraint's name as a literal.
    literal: String,
    /// Whether a row references the code `b`.
    reference: String,
    /// What our role lacks to see every row that does.
    missing_right: Option<String>,
}

/// What our role lacks to see every row that references the table of this oid, as SQL that grants it.
pub async fn list_missing_rights(on: &dyn Session, table: i64) -> DbResult<Vec<String>> {
    let rows = FOREIGN_KEYS.all(on, &[&table]).await?;
    let missing = rows.iter().filter_map(|row| row.get::<_, Option<String>>("missing_right"));
    let mut rights: Vec<String> =
        missing.flat_map(|rights| rights.split("; ").map(str::to_owned).collect::<Vec<_>>()).collect();
    rights.sort();
    rights.dedup();
    Ok(rights)
}

impl Production {
    /// Finds the table and its foreign keys as they are now.
    pub async fn find(on: &dyn Session) -> DbResult<Self> {
        let row = BASE.one(on, &[]).await?;
        let table: i64 = row.get("id");
        let key = |row: &Row| ForeignKey {
            name: row.get("name"),
            literal: row.get("literal"),
            reference: row.get("reference"),
            missing_right: row.get("missing_right"),
        };
        let keys = FOREIGN_KEYS.all(on, &[&table]).await?.iter().map(key).collect();
        Ok(Self { table, name: row.get("name"), below_view: row.get("below_view"), keys })
    }

    /// The same, and no foreign key is added before the transaction ends.
    pub async fn hold(tx: &Transaction<'_>) -> DbResult<Self> {
        HOLD_KEYS.run_many(tx, &[]).await.map(drop)?;
        Self::find(tx).await
    }

    /// Whether any table references codes.
    pub fn is_referenced(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Why references can't be looked up and what to do, if our role may not see all of them.
    pub fn find_obstacle(&self) -> Option<String> {
        let key = self.keys.iter().find(|key| key.missing_right.is_some())?;
        let right = key.missing_right.as_deref()?;
        Some(format!("codes are referenced by rows that may not be read (foreign key {}): {right}", key.name))
    }

    /// Whether any row references the code `b`.
    pub(super) fn reference(&self) -> String {
        let references: Vec<&str> = self.keys.iter().map(|key| key.reference.as_str()).collect();
        if references.is_empty() { "false".into() } else { references.join(" OR ") }
    }

    /// Why the code `row` stays, if `b` is its row in the table: that it was claimed, and the names of the foreign keys.
    pub(super) fn reasons(&self, row: &str) -> String {
        let mut reasons = vec![format!("CASE WHEN {row}.claimed THEN 'claimed' END")];
        let names =
            self.keys.iter().map(|key| format!("CASE WHEN {} THEN {} END", key.reference, key.literal));
        reasons.extend(names);
        format!("coalesce(nullif(concat_ws('; ', {}), ''), '{IN_USE}')", reasons.join(", "))
    }

    /// What to select codes with their references from, and the alias of a code in it.
    pub(super) fn codes(&self) -> (String, &'static str) {
        if self.below_view && self.is_referenced() {
            (format!("onceload.codes c JOIN {} b ON b.ctid = c.ctid", self.name), "c")
        } else {
            ("onceload.codes b".into(), "b")
        }
    }

    /// Selects from `addresses`, a table of addresses of codes, those that nothing references. `within` bounds them.
    pub(super) fn select_unreferenced(&self, addresses: &str, within: Option<&Range>) -> String {
        if self.keys.is_empty() {
            return format!("SELECT k.address FROM {addresses} k");
        }
        // One NOT for each, not one over all: then each is an anti-join.
        let mut conditions: Vec<String> =
            self.keys.iter().map(|key| format!("NOT {}", key.reference)).collect();
        // Of a large table only this part is read.
        conditions
            .extend(within.map(|range| format!("b.ctid >= '{}' AND b.ctid < '{}'", range.from, range.to)));
        format!(
            "SELECT b.ctid FROM {addresses} k JOIN {} b ON b.ctid = k.address WHERE {}",
            self.name,
            conditions.join(" AND ")
        )
    }
}
