//! Installs the Python environment of the local AWS engine, its deployment and the template's linter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Context, Error, Result, apt, process, project, say, stack};

/// An installed environment.
#[derive(Clone, Debug)]
pub struct Python {
    directory: PathBuf,
}

impl Python {
    /// Returns the environment with exactly the pinned packages, and installs it if necessary.
    pub fn provide() -> Result<Self> {
        fs::create_dir_all(project::target()).context(|| "create target/")?;
        // Two commands that begin at the same time install once.
        let _one_at_a_time = stack::lock_file(&project::target().join("python.lock"))?;
        let directory = project::target().join("python");
        let requirements = script("requirements.txt");
        let packages =
            fs::read_to_string(&requirements).context(|| format!("read {}", requirements.display()))?;
        // The programs of an environment name its directory: after a move it has to be made again.
        let wanted = format!("{}\n{packages}", directory.display());
        let stamp = directory.join("installed.txt");
        let python = Self { directory };
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(python);
        }
        let step = say::step("Installing the local AWS engine into target/python (once, about a minute)");
        let log = project::target().join("python.log");
        python.create(&log)?;
        let mut pip = Command::new(python.program("pip"));
        pip.args(["install", "--disable-pip-version-check", "--no-input", "--no-deps", "-r"])
            .arg(&requirements);
        process::run_logged(&mut pip, &log)?;
        fs::write(&stamp, wanted).context(|| format!("write {}", stamp.display()))?;
        step.done("installed");
        Ok(python)
    }

    /// A program of the environment, such as `python`, `aws` or `cfn-lint`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    fn create(&self, log: &Path) -> Result<()> {
        if !succeeds(Command::new("python3").arg("--version")) {
            apt::install(&["python3", "python3-venv"], "Python is not installed")?;
        }
        if !succeeds(
            Command::new("python3")
                .args(["-c", "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))"]),
        ) {
            apt::install(&["python3-venv"], "Python 3.10 or later with its venv module is missing")?;
        }
        let _ = fs::remove_dir_all(&self.directory);
        let made =
            process::run_logged(Command::new("python3").args(["-m", "venv"]).arg(&self.directory), log);
        made.map_err(|error| match error {
            Error::Interrupted => error,
            other => Error::advice(format!("python3 could not create a virtual environment: {other}")),
        })
    }
}

/// A file in xtask/local.
pub fn script(name: &str) -> PathBuf {
    project::root().join("xtask/local").join(name)
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
