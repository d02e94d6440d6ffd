//! Deploys template.yaml to the local AWS engine with xtask/local/deploy.py.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::engine::{Engine, REGION};
use crate::python::{Python, script};
use crate::{Context, Result, process, project};

/// A request to deploy.py: what to deploy, and the directory for intermediate files.
#[derive(Debug, Serialize)]
pub struct Request {
    template: PathBuf,
    work: PathBuf,
    endpoint: String,
    region: &'static str,
    stack: &'static str,
    parameters: BTreeMap<String, String>,
    binaries: BTreeMap<String, PathBuf>,
    users: Vec<Login>,
}

/// The account of a demo user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    pub email: String,
    pub password: String,
}

/// The answer of deploy.py.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    pub outputs: BTreeMap<String, String>,
    pub api_id: String,
    pub client_id: String,
    pub users: Vec<SignedUp>,
}

/// A demo user in the user pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedUp {
    pub email: String,
    /// The user's `sub`.
    pub subject: String,
    pub token: String,
}

impl Request {
    pub fn new(
        directory: &Path,
        engine: &Engine,
        parameters: BTreeMap<String, String>,
        binaries: BTreeMap<String, PathBuf>,
        users: Vec<Login>,
    ) -> Self {
        Self {
            template: project::root().join("template.yaml"),
            work: directory.join("deploy"),
            endpoint: engine.endpoint(),
            region: REGION,
            stack: "onceload",
            parameters,
            binaries,
            users,
        }
    }

    /// A request without an engine, for [`Request::transform`] only.
    pub fn offline(work: &Path, binaries: BTreeMap<String, PathBuf>) -> Self {
        let needed =
            [("DatabaseUrl", "postgres://"), ("JwtIssuer", "https://issuer"), ("JwtAudience", "audience")];
        Self {
            template: project::root().join("template.yaml"),
            work: work.to_path_buf(),
            endpoint: String::new(),
            region: REGION,
            stack: "onceload",
            parameters: needed.map(|(name, value)| (name.into(), value.into())).into(),
            binaries,
            users: Vec::new(),
        }
    }

    /// Deploys what has changed.
    pub fn deploy(&self, python: &Python) -> Result<Deployment> {
        let answer = self.run("deploy", python)?;
        serde_json::from_slice(&answer).context(|| "parse the answer of deploy.py")
    }

    /// Writes the CloudFormation template for the linter, without deploying, and returns its path.
    pub fn transform(&self, python: &Python) -> Result<PathBuf> {
        self.run("transform", python)?;
        Ok(self.work.join("cloudformation.json"))
    }

    fn run(&self, what: &str, python: &Python) -> Result<Vec<u8>> {
        let request = serde_json::to_vec(self).context(|| "write the request to deploy.py")?;
        let mut command = Command::new(python.program("python"));
        // An empty environment: no profile, key or endpoint of the developer may be used.
        command
            .arg(script("deploy.py"))
            .arg(what)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stderr(Stdio::inherit());
        process::ask(&mut command, &request)
    }

    /// A hash of everything that is deployed.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = sha2::Sha256::new();
        hash.update(serde_json::to_vec(self).context(|| "write the request")?);
        let root = project::root();
        let texts = [root.join("template.yaml"), script("deploy.py")];
        let definitions = fs::read_dir(root.join("statemachine")).context(|| "list statemachine/")?;
        let mut definitions: Vec<PathBuf> = definitions.flatten().map(|entry| entry.path()).collect();
        definitions.sort();
        for path in texts.iter().chain(&definitions) {
            hash.update(fs::read(path).context(|| format!("read {}", path.display()))?);
        }
        for path in self.binaries.values() {
            let metadata = fs::metadata(path).context(|| format!("read the size of {}", path.display()))?;
            let changed = metadata.modified().context(|| "read a file's modification time")?;
            hash.update(format!("{} {changed:?}", metadata.len()));
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
