//! The local AWS engine: a process on loopback with a clean environment, which runs the functions as its children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::process::{self, Identity};
use crate::python::{Python, script};
use crate::{Context, Error, Result, interrupt, postgres};

pub const REGION: &str = "eu-west-1";
/// A variable in the environment of the engine and of every function that it starts, by which all of them can be found.
const MARK: &str = "ONCELOAD_ENGINE";

/// A running engine. Dropping the value doesn't stop it; [`Engine::stop`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Engine {
    pub process: Identity,
    pub port: u16,
    directory: PathBuf,
}

impl Engine {
    /// Starts an engine that keeps its files and logs in `directory`, on `port` if that is free.
    pub fn start(python: &Python, directory: &Path, port: Option<u16>) -> Result<Self> {
        process::kill_marked(MARK, &directory.to_string_lossy());
        let temporary = directory.join("tmp");
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir_all(&temporary).context(|| format!("create {}", temporary.display()))?;
        let port = postgres::free_port(port)?;
        let log = log_of(directory);
        let mut command = Command::new(python.program("python"));
        command
            .arg(script("serve.py"))
            .arg(functions_log_of(directory))
            .current_dir(directory)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TMPDIR", &temporary)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env(MARK, directory)
            .env("BIND_HOST", "127.0.0.1")
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_REGION", REGION)
            // Otherwise it listens for IoT devices on every interface.
            .env("IOT_MTLS_ENABLED", "0")
            // The functions inherit these.
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON");
        let process = process::start(&mut command, &log)?;
        let engine = Self { process, port, directory: directory.to_path_buf() };
        let ready = interrupt::wait_until(Duration::from_secs(60), || {
            if !engine.process.is_alive() {
                let last = process::tail(&log, 10);
                return Err(Error::advice(format!(
                    "the AWS engine did not start; see {}:\n{last}",
                    log.display()
                )));
            }
            Ok(engine.is_ready())
        });
        match ready {
            Ok(true) => Ok(engine),
            Ok(false) => {
                engine.stop();
                Err(Error::advice(format!("the AWS engine does not answer; see {}", log.display())))
            }
            Err(error) => {
                engine.stop();
                Err(error)
            }
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The engine's own log, and the directory with a log of each function.
    pub fn logs(&self) -> (PathBuf, PathBuf) {
        (log_of(&self.directory), functions_log_of(&self.directory))
    }

    /// Stops the engine and every function process it started.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        if !self.process.wait_gone(Duration::from_secs(3)) {
            self.process.signal(Signal::SIGKILL);
            self.process.wait_gone(Duration::from_secs(3));
        }
        process::kill_marked(MARK, &self.directory.to_string_lossy());
        // The unpacked functions are large.
        let _ = fs::remove_dir_all(self.directory.join("tmp"));
    }

    fn is_ready(&self) -> bool {
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().new_agent();
        agent.get(format!("{}/_ministack/health", self.endpoint())).call().is_ok()
    }
}

fn log_of(directory: &Path) -> PathBuf {
    directory.join("logs/aws-engine.log")
}

fn functions_log_of(directory: &Path) -> PathBuf {
    directory.join("logs/functions")
}
