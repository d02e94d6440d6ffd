//! `cargo xtask fuzz`: gives the reader of files bytes that reach more and more of its branches, with libFuzzer, on the stable
//! toolchain.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::{Context, Result, process, project, say};

/// LLVM's coverage counters, which libFuzzer reads. `cargo fuzz` sets the same, and sanitizers, which need a nightly compiler.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// `RUSTFLAGS` with a target don't reach build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Look for bytes that the reader of files can't take
#[derive(Clone, Debug, Args)]
pub struct FuzzArgs {
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Afterwards replace tests/fuzz/corpus by the fewest files that reach the same branches
    #[arg(long)]
    merge: bool,
}

/// Builds the fuzzer and runs it. A panic, a hang of 10 s or 512 MB fails, and the bytes are kept.
pub fn run(args: &FuzzArgs) -> Result<()> {
    let target = project::target().join("fuzz");
    let (found, seeds) = (target.join("corpus"), project::root().join("tests/fuzz/corpus"));
    std::fs::create_dir_all(&found).context(|| format!("create {}", found.display()))?;
    process::run_well(
        project::cargo()
            .args([
                "build",
                "--release",
                "--target",
                TARGET,
                "--manifest-path",
                "tests/fuzz/Cargo.toml",
                "--target-dir",
            ])
            .arg(&target)
            .env("RUSTFLAGS", COVERAGE),
    )?;
    let fuzzer = || {
        let mut command = Command::new(target.join(TARGET).join("release/onceload-fuzz"));
        command.args(["-timeout=10", "-rss_limit_mb=512", "-max_len=4096"]);
        command
    };
    let seconds = format!("-max_total_time={}", args.minutes * 60);
    let artifacts = format!("-artifact_prefix={}/", target.display());
    process::run_well(fuzzer().args([&seconds, &artifacts, "-print_final_stats=1"]).arg(&found).arg(&seeds))?;
    if args.merge {
        merge(&fuzzer, found, &seeds)?;
    }
    say::line(format!("Nothing was found in {} min.", args.minutes));
    Ok(())
}

fn merge(fuzzer: &dyn Fn() -> Command, found: PathBuf, seeds: &PathBuf) -> Result<()> {
    let fewest = found.with_file_name("merged");
    std::fs::create_dir_all(&fewest).context(|| format!("create {}", fewest.display()))?;
    process::run_well(
        fuzzer().args(["-set_cover_merge=1", "-use_counters=0"]).arg(&fewest).arg(&found).arg(seeds),
    )?;
    std::fs::remove_dir_all(seeds).context(|| format!("remove {}", seeds.display()))?;
    std::fs::create_dir_all(seeds).context(|| format!("create {}", seeds.display()))?;
    for entry in std::fs::read_dir(&fewest).context(|| format!("read {}", fewest.display()))? {
        let path = entry.context(|| format!("read {}", fewest.display()))?.path();
        let name = path.file_name().unwrap_or_default();
        std::fs::copy(&path, seeds.join(name)).context(|| format!("copy {}", path.display()))?;
    }
    Ok(())
}
