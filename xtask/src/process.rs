//! Runs programs, each in a process group of its own, so that an interrupt stops its children, too. Recognises a process
//! later by more than its pid.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, Result, interrupt};

/// Runs a program to its end. An interrupt stops it.
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    let name = name_of(command);
    let child = command.process_group(0).stdin(Stdio::null()).spawn().context(|| format!("run {name}"))?;
    wait(child, &name)
}

/// Like [`run`], but fails if the program fails.
pub fn run_well(command: &mut Command) -> Result<()> {
    let status = run(command)?;
    if status.success() { Ok(()) } else { Err(Error::Program { program: name_of(command), status }) }
}

/// Runs a program and appends its output to a log file. A failure shows the last lines of the log.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let out =
        File::options().create(true).append(true).open(log).context(|| format!("open {}", log.display()))?;
    let err = out.try_clone().context(|| "share the log file")?;
    let status = run(command.stdout(out).stderr(err))?;
    if status.success() {
        return Ok(());
    }
    let program = name_of(command);
    Err(Error::advice(format!("{program} failed with {status}; see {}:\n{}", log.display(), tail(log, 15))))
}

/// Runs a program with `input` and returns its standard output. It shares our standard error.
pub fn ask(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let name = name_of(command);
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context(|| format!("run {name}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&input)));
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let status = wait(child, &name)?;
    // A program that fails early closes its input. Its status says more than the broken pipe.
    let _ = writer.join();
    let bytes = reader.join().map_err(|_| Error::advice(format!("the reader of {name} panicked")))?;
    if !status.success() {
        return Err(Error::Program { program: name, status });
    }
    bytes.context(|| format!("read the output of {name}"))
}

/// Starts a program that outlives this command, with its output in a log file.
pub fn start(command: &mut Command, log: &Path) -> Result<Identity> {
    let name = name_of(command);
    let out =
        File::options().create(true).append(true).open(log).context(|| format!("open {}", log.display()))?;
    let err = out.try_clone().context(|| "share the log file")?;
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .context(|| format!("start {name}"))?;
    Identity::of(child.id())
        .ok_or_else(|| Error::advice(format!("{name} ended at once; see {}", log.display())))
}

/// Returns the last lines of a log file, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn name_of(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn wait(mut child: Child, name: &str) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context(|| format!("wait for {name}"))? {
            return Ok(status);
        }
        if interrupt::requested() {
            stop_group(&mut child);
            return Err(Error::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Stops a child and its children, first with SIGTERM, then with SIGKILL.
fn stop_group(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGTERM);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// A process by its pid and its start, because the system reuses pids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// The start time as the operating system reports it, with the id of the boot.
    started: String,
}

impl Identity {
    /// The process that has this pid now; `None` if there is none or it is a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let started = start_of(pid)?;
        Some(Self { pid, started })
    }

    /// Whether this process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }

    /// Sends a signal if this process still runs.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), signal);
        }
    }

    /// Waits until the process has ended, even after an interrupt. Returns false if it doesn't end within `limit`.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// The start of a process: field 22 of `/proc/<pid>/stat` with the boot's id, or without `/proc` what `ps` prints.
fn start_of(pid: u32) -> Option<String> {
    if !Path::new("/proc/self/stat").exists() {
        let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return (!text.is_empty()).then_some(text);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may contain spaces and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks}@{}", boot.trim()))
}

/// Every process that this user can see; none without `/proc`.
pub fn all() -> impl Iterator<Item = Identity> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter_map(Identity::of)
}

/// Kills every process that was started with this variable in its environment.
pub fn kill_marked(variable: &str, value: &str) {
    let wanted = format!("{variable}={value}");
    for process in all().filter(|process| process.pid != std::process::id()) {
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()) {
            process.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognised_by_more_than_its_pid() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { started: "another time".into(), ..me }.is_alive());
    }

    #[test]
    fn a_program_that_ended_is_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id());
        child.wait().unwrap();
        assert!(identity.is_none_or(|it| !it.is_alive()));
    }

    #[test]
    fn output_larger_than_a_pipe_is_read_completely() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(ask(&mut Command::new("cat"), &input).unwrap(), input);
    }
}
