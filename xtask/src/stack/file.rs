//! `stack.json`: all that is needed to drive a stack from outside, by boto3, the AWS command line and curl.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::provision::Merchant;
use crate::{Context, Result, project};

/// The members that are promised in DESIGN.md, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackFile {
    pub api_url: String,
    pub database_url: String,
    pub aws_endpoint_url: String,
    pub region: String,
    pub bucket: String,
    pub state_machine_arn: String,
    /// The machine of rollbacks and exports, once there is one.
    pub maintenance_state_machine_arn: Option<String>,
    pub users: Vec<User>,
    pub merchants: Vec<Merchant>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub email: String,
    pub user_id: String,
    /// An ID token, good for 24 hours; the next `up` writes a fresh one.
    pub token: String,
}

impl StackFile {
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("stack.json");
        let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).context(|| format!("understand {}", path.display()))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context(|| "write stack.json")?;
        text.push(b'\n');
        project::write_atomically(&directory.join("stack.json"), &text)
    }
}
