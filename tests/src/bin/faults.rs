//! `cargo xtask faults`: the campaign of faults on the PostgreSQL of the environment. Exits non-zero if a promise was broken.
//! It reports to standard error, because the functions print a line of metrics per request.

use clap::Parser;
use onceload_tests::faults::{Fault, Report, SUBJECTS, Scope, run_subject};
use onceload_tests::objects::RequestFault;
use onceload_tests::wire::Cut;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;

/// Take away one message after the other.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask faults", bin_name = "cargo xtask faults")]
struct Arguments {
    /// Only steps whose names contain this text
    #[arg(long)]
    only: Option<String>,
    /// Only this request, counted from 1
    #[arg(long)]
    cut: Option<usize>,
    /// Only this fault: before, after, half, down, silent, s3-reset, s3-lost, s3-slow-down, s3-half, s3-slow, s3-down, s3-refuses,
    /// kill-before, kill-after
    #[arg(long, value_parser = parse_fault)]
    fault: Option<Fault>,
    /// Every nth request only, and each COMMIT
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// How many cases run at a time
    #[arg(long, default_value_t = 4)]
    at_a_time: usize,
}

fn parse_fault(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, fault)| *fault).ok_or_else(|| "no such fault".to_owned())
}

impl Arguments {
    fn scope(&self) -> Scope {
        let is_wanted = |fault: &Fault| self.fault.is_none_or(|only| only == *fault);
        let every = |faults: &[(Fault, usize)]| -> Vec<(Fault, usize)> {
            let wanted = faults.iter().filter(|(fault, _)| is_wanted(fault));
            wanted.map(|(fault, every)| (*fault, every * self.every)).collect()
        };
        Scope {
            // Whether the connection or the server is gone, and whether the server had done what was asked. The process that is
            // killed differs from a lost answer by what its own end does not do any more, so fewer places tell.
            everywhere: every(&[
                (Fault::Wire(Cut::Before), 1),
                (Fault::Wire(Cut::After), 1),
                (Fault::Wire(Cut::Down), 1),
                (Fault::Kill { after: true }, 4),
            ]),
            at_commits: [Fault::Wire(Cut::Half), Fault::Wire(Cut::Silent), Fault::Kill { after: false }]
                .into_iter()
                .filter(is_wanted)
                .collect(),
            at_s3: every(&[
                (Fault::S3(RequestFault::Reset), 1),
                (Fault::S3(RequestFault::Lost), 1),
                (Fault::S3(RequestFault::SlowDown), 1),
                (Fault::S3(RequestFault::Half), 1),
                (Fault::S3(RequestFault::Slow), 4),
                (Fault::S3(RequestFault::ResetFromNow), 1),
                (Fault::S3(RequestFault::SlowDownFromNow), 1),
            ]),
            only: self.cut,
            at_a_time: self.at_a_time,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scope = arguments.scope();
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let left: Mutex<VecDeque<_>> =
        Mutex::new(SUBJECTS.iter().filter(|subject| wanted(subject.name)).collect());
    let reports = Mutex::new(Vec::new());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let runtime = Handle::current();
    eprintln!("{:<36} {:>8} {:>7} {:>8} {:>8}", "step", "requests", "faults", "failures", "seconds");
    // The futures of the functions stay on the thread that made them.
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            threads.spawn(|| {
                while let Some(subject) = next() {
                    let name = subject.name;
                    eprintln!("{name} ...");
                    let report = runtime.block_on(run_subject(subject, &scope));
                    print(&report);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let failures = sum(|report| report.failures.len());
    eprintln!(
        "{:<36} {:>8} {:>7} {failures:>8}",
        "all",
        sum(|report| report.requests),
        sum(|report| report.faults)
    );
    ExitCode::from(u8::from(failures > 0))
}

fn print(report: &Report) {
    let Report { name, requests, faults, failures, took } = report;
    eprintln!("{name:<36} {requests:>8} {faults:>7} {:>8} {:>8.1}", failures.len(), took.as_secs_f64());
    for failure in failures {
        eprintln!("  {failure}");
    }
}
