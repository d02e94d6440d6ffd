//! What it was measured on, and when.

use crate::Outcome;
use crate::database::{Server, text};
use serde::Serialize;
use std::fmt::{Display, Formatter};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// By the database's clock, UTC.
    date: String,
    cores: usize,
    processor: String,
    memory_gib: u64,
    postgres: String,
    settings: String,
    /// Sequential write of 1 GiB with fsync, where the database is, in MB/s.
    disk_mb_per_second: f64,
    /// Processes that wanted to run in the minute before; other work makes every time here longer.
    load_before: String,
    optimised: bool,
}

const SETTINGS: &str = "SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
  WHERE name IN ('shared_buffers', 'max_wal_size', 'fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums')";

impl Machine {
    pub(crate) async fn look(server: &Server) -> Outcome<Self> {
        let admin = server.administer("postgres").await?;
        let directory = text(&admin, "SELECT current_setting('data_directory')").await?;
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            date: text(&admin, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')").await?,
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name"),
            memory_gib: field("/proc/meminfo", "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            postgres: text(&admin, "SELECT split_part(current_setting('server_version'), ' ', 1)").await?,
            settings: text(&admin, SETTINGS).await?,
            disk_mb_per_second: write_speed(Path::new(&directory))?,
            optimised: !cfg!(debug_assertions),
        })
    }
}

impl Machine {
    pub(crate) fn in_short(&self) -> String {
        let class = format!("{} cores, {} GiB", self.cores, self.memory_gib);
        let build = if self.optimised { "" } else { ", debug build: times say nothing" };
        format!("{}, {class}, PostgreSQL {}{build}", self.date, self.postgres)
    }
}

/// The value of the first line of that name.
fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn write_speed(directory: &Path) -> Outcome<f64> {
    const PIECES: usize = 1024;
    let path = directory.join("bench-disk");
    let piece: Vec<u8> = (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let started = Instant::now();
    let mut file = std::fs::File::create(&path)?;
    for _ in 0..PIECES {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok((PIECES * piece.len()) as f64 / 1e6 / seconds)
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}: {} cores ({}), {} GiB, PostgreSQL {} ({})",
            self.date, self.cores, self.processor, self.memory_gib, self.postgres, self.settings
        )?;
        write!(
            f,
            "disk: {:.0} MB/s written and synced; load before: {}{}",
            self.disk_mb_per_second,
            self.load_before,
            if self.optimised { "" } else { "; NOT OPTIMISED: a debug build, times say nothing" }
        )
    }
}
