//! Worker processes: each runs steps one after the other, as an environment of Lambda does, under the memory limit of
//! its function, and says how much it has needed.

use crate::Outcome;
use crate::template::Template;
use nix::sys::resource::{Resource, setrlimit};
use onceload_tests::call::Call;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::lambda::{App, Budget};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// As much time as Lambda gives a step.
const LAMBDA: Duration = Duration::from_secs(895);

/// The worker's function and its memory in bytes.
const FUNCTION: &str = "ONCELOAD_BENCH_FUNCTION";
const MEMORY: &str = "ONCELOAD_BENCH_MEMORY";

/// Reads one input a line from standard input and answers `{"output" | "failed","peak_bytes"}`.
///
/// The limit is on private writable memory (`RLIMIT_DATA` of setrlimit(2): heap, anonymous maps, stacks). Nothing to
/// speak of is resident beside it but the program's text, and unlike `RLIMIT_AS` it leaves out what an allocator has
/// only reserved. What goes over it dies, as on Lambda.
pub(crate) async fn serve() -> Outcome<()> {
    let function = std::env::var(FUNCTION)?;
    let memory = std::env::var(MEMORY)?.parse()?;
    setrlimit(Resource::RLIMIT_DATA, memory, memory)?;
    let app = App::from_env(Call::step(&function, Value::Null).usage()).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(line) = lines.next_line().await? {
        let input: Value = serde_json::from_str(&line)?;
        let app = app.clone();
        let budget = Budget::of(LAMBDA);
        let output: Result<Value, String> = match function.as_str() {
            "migrate" => shown(migrate::handle(app, parsed(input)?, budget).await),
            "open-import" => shown(open_import::handle(app, parsed(input)?, budget).await),
            "load-staging" => shown(load_staging::handle(app, parsed(input)?, budget).await),
            "mark-duplicates" => shown(mark_duplicates::handle(app, parsed(input)?, budget).await),
            "validate-import" => shown(validate_import::handle(app, parsed(input)?, budget).await),
            "insert-codes" => shown(insert_codes::handle(app, parsed(input)?, budget).await),
            "verify-import" => shown(verify_import::handle(app, parsed(input)?, budget).await),
            "close-import" => shown(close_import::handle(app, parsed(input)?, budget).await),
            "export-report" => shown(export_report::handle(app, parsed(input)?, budget).await),
            "rollback-import" => shown(rollback_import::handle(app, parsed(input)?, budget).await),
            other => Err(format!("no step {other}")),
        };
        let mut answer = json!({ "peak_bytes": peak_bytes() });
        match output {
            Ok(output) => answer["output"] = output,
            Err(error) => answer["failed"] = error.into(),
        }
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

fn parsed<T: DeserializeOwned>(input: Value) -> Outcome<T> {
    Ok(serde_json::from_value(input)?)
}

fn shown<T: serde::Serialize>(result: shared::domain::step::StepResult<T>) -> Result<Value, String> {
    result.map(|output| json!(output)).map_err(|error| {
        format!("{}: {error}: {}", error.kind.as_str(), shared::domain::step::list_causes(&error))
    })
}

/// The most memory that this process has held (`VmHWM` of proc(5)), in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    kib * 1024
}

/// A worker as its parent sees it.
pub(crate) struct Worker {
    pub function: &'static str,
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pub peak_bytes: u64,
    /// Of each invocation, rounded up to the next millisecond as Lambda bills it.
    pub billed_ms: Vec<u64>,
}

impl Worker {
    pub(crate) fn start(
        function: &'static str,
        template: &Template,
        environment: &[(&str, String)],
    ) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env(FUNCTION, function)
            .env(MEMORY, (template.memory(function)? << 20).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
        Ok(Self { function, _process: process, input, output, peak_bytes: 0, billed_ms: Vec::new() })
    }

    /// One invocation, to its end.
    pub(crate) async fn invoke(&mut self, input: &Value) -> Outcome<Value> {
        let function = self.function;
        let begun = Instant::now();
        self.input.write_all(format!("{input}\n").as_bytes()).await?;
        let line = self.output.next_line().await?.ok_or_else(|| format!("the worker died in {function}"))?;
        let billed = begun.elapsed().as_micros().div_ceil(1000);
        self.billed_ms.push(u64::try_from(billed)?);
        let mut answer: Value = serde_json::from_str(&line)?;
        self.peak_bytes = self.peak_bytes.max(answer["peak_bytes"].as_u64().unwrap_or_default());
        match answer["failed"].as_str() {
            Some(failed) => Err(format!("{function}: {failed}").into()),
            None => Ok(answer["output"].take()),
        }
    }
}
