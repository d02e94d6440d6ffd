//! The way of an import to each state: what has to be there before, and what is done on the way.

use super::nodes::Node;
use crate::Outcome;
use crate::gate::{Act, Gate, Rule};
use crate::local::Local;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// How an import comes to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// An import of a file, with duplicates and a reject, that is approved.
    Import,
    /// Another import has the merchant's lease.
    Queue,
    /// Every code is in production already.
    Empty,
    /// Staging is lost before the chunks are planned.
    Restage,
    /// The plan of the chunks is refused, for good.
    Stopped,
    /// What a person asks of a completed import: `rollback`, `verify`, `exports`.
    Task(&'static str),
    /// The same, and its step is refused for good.
    GivenUp(&'static str, &'static str),
}

pub(super) fn find(node: &Node) -> Option<Way> {
    Some(match (node.machine, node.state.as_str()) {
        (
            "import",
            "Open" | "LoadFile" | "PlanChunks" | "MarkChunk" | "Validate" | "WaitForApproval" | "InsertCodes"
            | "Verify" | "Close" | "TidyUp",
        ) => Way::Import,
        ("import", "WaitForMerchant") => Way::Queue,
        ("import", "CloseEmpty") => Way::Empty,
        ("import", "Continue") => Way::Restage,
        ("import", "CloseStopped") => Way::Stopped,
        ("maintenance", "Rollback") => Way::Task("rollback"),
        ("maintenance", "Verify") => Way::Task("verify"),
        ("maintenance", "Export") => Way::Task("exports"),
        ("maintenance", "GiveUpRollback") => Way::GivenUp("rollback", "Rollback"),
        ("maintenance", "GiveUpVerify") => Way::GivenUp("verify", "Verify"),
        ("maintenance", "GiveUpExport") => Way::GivenUp("exports", "Export"),
        _ => return None,
    })
}

/// Fails for a state that no way leads to.
pub(super) fn check(node: &Node) -> Outcome<()> {
    find(node).map(drop).ok_or_else(|| format!("states/ways.rs knows no way to the state {node}").into())
}

/// What the file of the import comes to.
pub(crate) struct Expected {
    pub clean: i64,
    pub rejected: i64,
}

/// 60 codes, of which 5 stand twice, and a reject.
pub(super) fn file() -> (Vec<String>, Vec<u8>) {
    let codes: Vec<String> = (0..60).map(|n| format!("A-{n:05}")).collect();
    let mut text = String::from("code,serial,points\n");
    codes.iter().chain(&codes[..5]).for_each(|code| text += &format!("{code},S,7\n"));
    text += "BAD,S,x\n";
    (codes, text.into_bytes())
}

impl Way {
    pub(super) fn expects(self) -> Expected {
        Expected { clean: if self == Self::Empty { 0 } else { 60 }, rejected: 1 }
    }

    /// The request that starts the task, and its body.
    pub(super) fn task(self) -> Option<(&'static str, serde_json::Value)> {
        match self {
            Self::Task(task) | Self::GivenUp(task, _) => Some(match task {
                "rollback" => (task, json!({ "confirm": "DELETE" })),
                "exports" => (task, json!({ "kind": "report" })),
                _ => (task, json!({})),
            }),
            _ => None,
        }
    }

    /// What has to be done before the import's file is uploaded.
    pub(super) async fn prepare(self, local: &Local, gate: &Gate, merchant: Uuid) -> Outcome<()> {
        let text = merchant.to_string();
        match self {
            Self::Queue => {
                // Stands in for another import.
                let occupy = format!(
                    "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, phase, leased, source_info, heartbeat_at)
                     VALUES ('{}', '{merchant}', 'loading', 'loading', true, '{{}}', now() + interval '1 hour')",
                    Uuid::now_v7()
                );
                local.rows(&occupy).await?;
            }
            Self::Empty => {
                let values: Vec<String> =
                    file().0.iter().map(|code| format!("('{merchant}', '{code}')")).collect();
                let sql =
                    format!("INSERT INTO onceload.codes (merchant_id, code) VALUES {}", values.join(", "));
                local.rows(&sql).await?;
            }
            Self::Restage => gate.set(rule("way", "import", "PlanChunks", &text, Act::Hold))?,
            Self::Stopped => gate.set(rule("way", "import", "PlanChunks", &text, Act::Refuse))?,
            Self::Import | Self::Task(_) | Self::GivenUp(..) => {}
        }
        Ok(())
    }

    /// What has to be done once the import is under way.
    pub(super) async fn lead(self, local: &Local, gate: &Gate, merchant: Uuid) -> Outcome<()> {
        if self == Self::Restage {
            let id = name("way", &merchant.to_string());
            gate.wait(&id, 0, PATIENCE).await?;
            let tables = format!(
                "SELECT 'onceload_staging.' || relname FROM pg_class
                   JOIN onceload.codes_import_jobs j ON starts_with(relname, 'b_' || replace(j.id::text, '-', '') || '_')
                  WHERE relnamespace = 'onceload_staging'::regnamespace AND relkind = 'r' AND j.merchant_id = '{merchant}'"
            );
            let tables: Vec<String> = local.rows(&tables).await?.into_iter().flatten().collect();
            local.rows(&format!("TRUNCATE {}", tables.join(", "))).await?;
            gate.open(&id, 0)?;
        }
        Ok(())
    }

    /// What the operator does once the state has been reached and hurt.
    pub(super) async fn release(self, local: &Local, merchant: Uuid) -> Outcome<()> {
        if self == Self::Queue {
            let release = format!(
                "UPDATE onceload.codes_import_jobs SET status = 'failed', phase = 'failed', leased = false,
                        finished_at = now(), heartbeat_at = now(), error_message = 'stood in for another import'
                  WHERE merchant_id = '{merchant}' AND source_info = '{{}}' AND leased"
            );
            local.rows(&release).await?;
        }
        Ok(())
    }
}

/// The longest that a state may be on its way, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn name(what: &str, merchant: &str) -> String {
    format!("{what}-{merchant}")
}

pub(super) fn rule(what: &str, machine: &str, state: &str, merchant: &str, act: Act) -> Rule {
    Rule {
        id: name(what, merchant),
        machine: machine.to_owned(),
        state: state.to_owned(),
        texts: vec![merchant.to_owned()],
        acts: vec![act],
    }
}
