//! Everything that was done and answered, a JSON line each, and what was found wrong.

use crate::Outcome;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Long bodies are cut off in the journal, not in the checks.
const LONGEST: usize = 4_000;

pub(crate) struct Journal {
    began: Instant,
    file: Mutex<File>,
    found: Mutex<Vec<String>>,
    /// When something was taken away, from and to, if it is over.
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
}

/// Until the service is itself again after a fault.
const AFTERMATH: Duration = Duration::from_secs(15);

impl Journal {
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        let file = Mutex::new(File::create(path)?);
        Ok(Self { began: Instant::now(), file, found: Mutex::default(), outages: Mutex::default() })
    }

    pub(crate) fn milliseconds(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub(crate) fn write(&self, who: &str, what: &str, mut details: Value) {
        if let Some(Value::String(text)) = details.get_mut("text")
            && text.len() > LONGEST
        {
            *text = text.chars().take(LONGEST).collect();
        }
        let line = json!({ "at": self.milliseconds(), "who": who, "what": what, "details": details });
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Something is wrong.
    pub(crate) fn find(&self, what: impl Into<String>) {
        let what = what.into();
        self.write("check", "found", json!({ "found": what }));
        if let Ok(mut found) = self.found.lock()
            && !found.contains(&what)
        {
            println!("{:>6} s  FOUND {what}", self.milliseconds() / 1000);
            found.push(what);
        }
    }

    pub(crate) fn found(&self) -> Vec<String> {
        self.found.lock().map(|found| found.clone()).unwrap_or_default()
    }

    /// Something is away from now on. Returns its number.
    pub(crate) fn begin_outage(&self) -> usize {
        let Ok(mut outages) = self.outages.lock() else { return 0 };
        outages.push((Instant::now(), None));
        outages.len() - 1
    }

    pub(crate) fn end_outage(&self, number: usize) {
        if let Ok(mut outages) = self.outages.lock()
            && let Some(outage) = outages.get_mut(number)
        {
            outage.1 = Some(Instant::now());
        }
    }

    /// Whether anything was away between the two, or shortly before.
    pub(crate) fn had_outage(&self, from: Instant, to: Instant) -> bool {
        let Ok(outages) = self.outages.lock() else { return false };
        outages
            .iter()
            .any(|(begun, ended)| *begun <= to && ended.is_none_or(|ended| ended + AFTERMATH >= from))
    }
}
