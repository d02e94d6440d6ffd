//! `target/local/stack.json`: all that is needed to drive the local stack from outside.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Context, Error, Result};

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StackFile {
    pub api_url: String,
    pub database_url: String,
    pub aws_endpoint_url: String,
    pub region: String,
    pub bucket: String,
    users: Vec<User>,
    merchants: Vec<Merchant>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    pub email: String,
    pub token: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Merchant {
    pub merchant_id: String,
    pub name: String,
}

impl StackFile {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).context(|| format!("understand {}", path.display()))
    }

    /// The first user and the first merchant, who belong together.
    pub(super) fn first(&self) -> Result<(&User, &Merchant)> {
        match (self.users.first(), self.merchants.first()) {
            (Some(user), Some(merchant)) => Ok((user, merchant)),
            _ => Err(Error::advice(
                "the local stack has no demo user or no merchant: `cargo xtask down --wipe`",
            )),
        }
    }
}
