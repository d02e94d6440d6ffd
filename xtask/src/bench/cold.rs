//! `cargo xtask bench --cold`: measures the size of each function, built for release, and the time from its start until
//! it asks the Lambda Runtime API for its first invocation.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::size::{self, BUDGET, LARGEST};
use crate::{Context, Error, Result, functions, interrupt, project, say};

/// The median of the starts should be at most this.
const AIM: Duration = Duration::from_millis(30);
const STARTS: usize = 20;
/// A function that takes longer to start has failed.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct Function {
    function: String,
    bytes: u64,
    median_ms: f64,
    slowest_ms: f64,
}

/// Measures every function, prints the table and writes `target/bench-cold.json`. Fails if a function exceeds its budget.
pub(super) fn run() -> Result<()> {
    let measured: Vec<Function> = functions::build_release(&project::functions()?)?
        .into_iter()
        .map(|(name, path)| measure(name, &path))
        .collect::<Result<_>>()?;
    say::result(format!("{:<26} {:>12} {:>10} {:>10}", "function", "bytes", "median ms", "slowest ms"));
    for it in &measured {
        say::result(format!(
            "{:<26} {:>12} {:>10.1} {:>10.1}",
            it.function,
            crate::generate::grouped(it.bytes),
            it.median_ms,
            it.slowest_ms
        ));
    }
    let slow = measured.iter().filter(|it| it.median_ms > AIM.as_secs_f64() * 1000.0).count();
    say::result(match slow {
        0 => format!("met: every median is at most {} ms", AIM.as_millis()),
        slow => format!("MISSED: {slow} functions have a median above {} ms", AIM.as_millis()),
    });
    let path = project::target().join("bench-cold.json");
    let text = serde_json::to_string_pretty(&measured).context(|| "render the sizes")?;
    std::fs::write(&path, text).context(|| format!("write {}", path.display()))?;
    let large: Vec<&str> =
        measured.iter().filter(|it| it.bytes > BUDGET).map(|it| it.function.as_str()).collect();
    if !large.is_empty() {
        return Err(Error::advice(format!(
            "these functions are larger than {BUDGET} bytes: {}",
            large.join(", ")
        )));
    }
    say::result(format!("met: every function has at most {} bytes", crate::generate::grouped(BUDGET)));
    match measured.iter().max_by_key(|it| it.bytes) {
        Some(largest) if largest.function != LARGEST => say::result(format!(
            "{} is now the largest function: set LARGEST in xtask/src/size.rs to it",
            largest.function
        )),
        _ => {}
    }
    Ok(())
}

fn measure(function: String, executable: &Path) -> Result<Function> {
    let bytes = size::size_of(executable)?;
    // Not measured: the first start reads the file from disk.
    time_start(executable)?;
    let mut times = (0..STARTS).map(|_| time_start(executable)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Function { function, bytes, median_ms: ms(times[STARTS / 2]), slowest_ms: ms(times[STARTS - 1]) })
}

/// Measures the time from spawn to the first `GET .../invocation/next`.
fn time_start(executable: &Path) -> Result<Duration> {
    interrupt::check()?;
    let api = TcpListener::bind(("127.0.0.1", 0)).context(|| "listen on loopback")?;
    let address = api.local_addr().context(|| "listen on loopback")?.to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let line = api.accept().and_then(|(socket, _)| {
            let mut line = String::new();
            BufReader::new(socket).read_line(&mut line).map(|_| line)
        });
        // The receiver is gone if the function has failed.
        let _ = sender.send((Instant::now(), line));
    });
    let begun = Instant::now();
    let mut child = Command::new(executable)
        .env_clear()
        .envs(environment())
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| format!("start {}", executable.display()))?;
    let asked = receiver.recv_timeout(LIMIT);
    let _ = child.kill();
    let _ = child.wait();
    match asked {
        Ok((at, Ok(line))) if line.starts_with("GET /2018-06-01/runtime/invocation/next ") => Ok(at - begun),
        _ => Err(Error::advice(format!("{} never asked for an invocation", executable.display()))),
    }
}

/// The variables that Lambda and template.yaml set. The database requires TLS, so that the measured time includes
/// reading the certificates. The function connects to nothing before its first invocation.
fn environment() -> BTreeMap<&'static str, &'static str> {
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "function"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ("BUCKET", "bucket"),
        ("DATABASE_URL", "postgres://onceload:x@db.example:5432/onceload?sslmode=require"),
        ("STATE_MACHINE_ARN", "arn:aws:states:eu-central-1:000000000000:stateMachine:import"),
        (
            "MAINTENANCE_STATE_MACHINE_ARN",
            "arn:aws:states:eu-central-1:000000000000:stateMachine:maintenance",
        ),
    ]
    .into()
}
