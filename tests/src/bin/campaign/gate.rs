//! Acts at a chosen state of an execution, through the engine: see `xtask/local/gate.py`.

use crate::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    /// The function runs once [`Gate::open`] says so.
    Hold,
    /// The function does not run: `Transient`.
    Fail,
    /// The function does not run: `InvalidInput`.
    Refuse,
    /// The function runs, and its answer is lost: `Transient`.
    Lose,
    /// The function runs twice at once.
    Twice,
}

/// The n-th task that the rule fits gets the n-th act.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rule {
    pub id: String,
    /// `import` or `maintenance`
    pub machine: String,
    pub state: String,
    /// One of them is in the execution's name or input, or in the task's payload. Empty: every execution.
    pub texts: Vec<String>,
    pub acts: Vec<Act>,
}

#[derive(Clone)]
pub(crate) struct Gate {
    directory: PathBuf,
    rules: Arc<Mutex<BTreeMap<String, Rule>>>,
}

impl Gate {
    pub(crate) fn new(stack: &Path) -> Self {
        Self { directory: stack.join("gate"), rules: Arc::default() }
    }

    /// Adds a rule, or changes it. What it has counted stays.
    pub(crate) fn set(&self, rule: Rule) -> Outcome<()> {
        let mut rules = self.rules.lock().map_err(|_| "a task panicked")?;
        rules.insert(rule.id.clone(), rule);
        self.write(&rules)
    }

    /// Removes a rule, which opens what it holds.
    pub(crate) fn remove(&self, id: &str) -> Outcome<()> {
        let mut rules = self.rules.lock().map_err(|_| "a task panicked")?;
        rules.remove(id);
        self.write(&rules)
    }

    pub(crate) fn clear(&self) -> Outcome<()> {
        let mut rules = self.rules.lock().map_err(|_| "a task panicked")?;
        rules.clear();
        self.write(&rules)
    }

    fn write(&self, rules: &BTreeMap<String, Rule>) -> Outcome<()> {
        let partial = self.directory.join("rules.partial");
        std::fs::write(&partial, serde_json::to_vec(&rules.values().collect::<Vec<_>>())?)?;
        Ok(std::fs::rename(partial, self.directory.join("rules.json"))?)
    }

    /// Whether the n-th task of the rule is there, or has been.
    pub(crate) fn is_reached(&self, id: &str, n: usize) -> bool {
        self.directory.join(format!("{id}.{n}.reached")).exists()
    }

    pub(crate) async fn wait(&self, id: &str, n: usize, patience: Duration) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        while !self.is_reached(id, n) {
            if Instant::now() > deadline {
                return Err(format!("no task came to the gate {id} within {patience:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Lets the task run that `hold` holds.
    pub(crate) fn open(&self, id: &str, n: usize) -> Outcome<()> {
        Ok(std::fs::write(self.directory.join(format!("{id}.{n}.open")), "")?)
    }
}
