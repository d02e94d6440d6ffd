//! Prints what a command does, a line per step with its duration on standard error, and results on standard output.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints one line on standard error, apart from the results on standard output.
pub fn line(text: impl Display) {
    // A closed terminal must not end the command half-way.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a result on standard output.
pub fn result(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A running step. It prints its name at the beginning and its duration at the end.
#[derive(Debug)]
pub struct Step {
    name: String,
    started: Instant,
    live: bool,
}

/// Announces a step: `let step = say::step("Building the functions"); ...; step.done("11 binaries");`
pub fn step(name: impl Into<String>) -> Step {
    let name = name.into();
    line(format_args!("{name} ..."));
    Step { name, started: Instant::now(), live: std::io::stderr().is_terminal() }
}

impl Step {
    /// Shows progress by replacing the line on a terminal. Writes nothing to a log file.
    pub fn progress(&self, text: impl Display) {
        if self.live {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K  {text} [{}]", Seconds(self.started.elapsed()));
            let _ = out.flush();
        }
    }

    /// Ends the step and prints its outcome.
    pub fn done(self, outcome: impl Display) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        line(format_args!("{clear}{}: {outcome} [{}]", self.name, Seconds(self.started.elapsed())));
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 05 s`.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 9.95 {
            write!(f, "{seconds:.1} s")
        } else if seconds < 59.5 {
            write!(f, "{seconds:.0} s")
        } else {
            let whole = seconds.round() as u64;
            write!(f, "{} min {:02} s", whole / 60, whole % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_for_people() {
        for (millis, text) in
            [(0, "0.0 s"), (9_940, "9.9 s"), (9_960, "10 s"), (59_600, "1 min 00 s"), (185_000, "3 min 05 s")]
        {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
