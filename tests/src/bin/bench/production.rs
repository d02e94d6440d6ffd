//! Production's table of codes: Onceload's own, or an application's, which is adopted before the import. Readers and claims use the
//! table's own names.

use crate::Outcome;
use serde_json::{Value, json};
use shared::db::adoption::ddl::COLUMNS;
use std::collections::BTreeMap;
use xtask::demo::adopt::{REQUEST, TABLES};

/// The table, and which of its columns stands for which of `onceload.codes`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Production {
    table: String,
    columns: BTreeMap<String, String>,
    /// SQL that makes the table, unless the migrations do.
    pub definition: &'static str,
    /// The input of `migrate` that adopts the table.
    pub adoption: Option<Value>,
}

impl Production {
    /// `onceload.codes` as the migrations make it.
    pub(crate) fn own() -> Self {
        Self { table: "onceload.codes".into(), ..Self::default() }
    }

    /// The table of the application of `cargo xtask demo --adopt`: a random uuid as its key, two more indexes, the language's
    /// collation, no column for the import, and a table that references it.
    pub(crate) fn of_application() -> Outcome<Self> {
        let mut request: Value = serde_json::from_str(REQUEST)?;
        request["apply"] = json!(true);
        Ok(Self {
            table: request["table"].as_str().ok_or("adopt.json names no table")?.to_owned(),
            columns: serde_json::from_value(request["columns"].clone())?,
            definition: TABLES,
            adoption: Some(json!({ "adopt": request })),
        })
    }

    /// SQL in the table's own names, which stand for `[table]` and for each column of `onceload.codes`, such as `[code]`.
    pub(crate) fn sql(&self, template: &str) -> String {
        let sql = template.replace("[table]", &self.table);
        COLUMNS.iter().fold(sql, |sql, (ours, _)| {
            sql.replace(&format!("[{ours}]"), self.columns.get(*ours).map_or(ours, String::as_str))
        })
    }

    /// The shape, for a person.
    pub(crate) fn shape(&self) -> String {
        let adopted = if self.adoption.is_some() { ", adopted" } else { "" };
        format!("{}{adopted}", self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::Production;

    #[test]
    fn an_application_has_names_of_its_own() {
        let template = "SELECT [points] FROM [table] WHERE [merchant_id] = $1 AND [code] = $2";
        let own = Production::own();
        assert_eq!(
            own.sql(template),
            "SELECT points FROM onceload.codes WHERE merchant_id = $1 AND code = $2"
        );
        let application = Production::of_application().unwrap();
        assert_eq!(
            application.sql(template),
            "SELECT points FROM public.promo_codes WHERE owner_id = $1 AND promo_code = $2"
        );
        assert_eq!(application.shape(), "public.promo_codes, adopted");
    }
}
