//! `stack.json`: the addresses and credentials that boto3, the AWS command line and curl need to use a stack.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::provision::Merchant;
use crate::{Context, Result, project};

/// The content of `stack.json`. Scripts read its members by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackFile {
    pub api_url: String,
    pub database_url: String,
    pub aws_endpoint_url: String,
    pub region: String,
    pub bucket: String,
    pub state_machine_arn: String,
    /// The state machine of rollbacks, verifications and exports.
    pub maintenance_state_machine_arn: Option<String>,
    /// The function that migrates the database and adopts an application's table.
    #[serde(default)]
    pub migrate_function: String,
    pub users: Vec<User>,
    pub merchants: Vec<Merchant>,
}

/// A demo user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub email: String,
    pub user_id: String,
    /// An ID token. It is valid for 24 hours, and the next `up` writes a new one.
    pub token: String,
}

impl StackFile {
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("stack.json");
        let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).context(|| format!("parse {}", path.display()))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context(|| "write stack.json")?;
        text.push(b'\n');
        project::write_atomically(&directory.join("stack.json"), &text)
    }
}
