//! Finds the API, the token and the merchant: in options and the environment, or in the local stack's file.

use crate::args::Global;
use crate::failure::{Exit, Failure, Outcome};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The settings that a command needs to call the API.
pub(crate) struct Config {
    pub api_url: String,
    pub token: String,
    merchant: Option<String>,
}

impl Config {
    pub(crate) fn find(global: &Global) -> Outcome<Self> {
        let stack = match global.api_url.is_some() && global.token.is_some() && global.merchant.is_some() {
            true => None,
            false => read_stack_file()?,
        };
        Self::of(global, stack.as_ref())
    }

    fn of(global: &Global, stack: Option<&Value>) -> Outcome<Self> {
        let stack_url = stack.and_then(|stack| stack["api_url"].as_str());
        let given = global.api_url.as_deref().filter(|url| !url.is_empty());
        let Some(api_url) = given.or(stack_url) else {
            return Err(Failure::new(
                Exit::Usage,
                "The address of the API is missing. Set ONCELOAD_API_URL, or give --api-url.",
            ));
        };
        // The token of the local stack goes to no other API.
        let stack = stack.filter(|_| stack_url == Some(api_url));
        let token = global.token.clone().filter(|token| !token.is_empty());
        let token =
            token.or_else(|| Some(stack?["users"][0]["token"].as_str()?.to_owned())).ok_or_else(|| {
                Failure::new(Exit::Denied, "The token is missing. Set ONCELOAD_TOKEN, or give --token.")
            })?;
        if !is_encrypted_or_local(api_url) {
            let message =
                format!("{api_url} does not use https, so the token would cross the network unencrypted.");
            return Err(Failure::new(Exit::Usage, message));
        }
        let merchant = global.merchant.map(|id| id.to_string());
        let merchant = merchant.or_else(|| Some(stack?["merchants"][0]["merchant_id"].as_str()?.to_owned()));
        Ok(Self { api_url: api_url.trim_end_matches('/').to_owned(), token, merchant })
    }

    pub(crate) fn merchant(&self) -> Outcome<&str> {
        self.merchant.as_deref().ok_or_else(|| {
            Failure::new(Exit::Usage, "The merchant is missing. Set ONCELOAD_MERCHANT, or give --merchant.")
        })
    }
}

fn is_encrypted_or_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return url.starts_with("https://") };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // User information before the host could disguise it: the host of `localhost@elsewhere` is `elsewhere`.
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost") && !host.contains('@')
}

/// Reads the file that ONCELOAD_STACK names, or `target/local/stack.json` of the checkout around the current directory.
#[allow(clippy::disallowed_methods, reason = "an operator's command reads its environment")]
fn read_stack_file() -> Outcome<Option<Value>> {
    let path = match std::env::var_os("ONCELOAD_STACK").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            let here = std::env::current_dir().unwrap_or_default();
            let found =
                here.ancestors().map(|folder| folder.join("target/local/stack.json")).find(|p| p.exists());
            match found {
                Some(path) => path,
                None => return Ok(None),
            }
        }
    };
    read(&path).map(Some)
}

fn read(path: &Path) -> Outcome<Value> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn global(api_url: Option<&str>, token: Option<&str>) -> Global {
        Global {
            api_url: api_url.map(str::to_owned),
            token: token.map(str::to_owned),
            merchant: None,
            json: false,
        }
    }

    #[test]
    fn the_token_of_the_local_stack_goes_to_that_stack_only() {
        let stack = json!({ "api_url": "http://127.0.0.1:4566/api", "users": [{ "token": "secret" }],
                            "merchants": [{ "merchant_id": "m" }] });
        let local = Config::of(&global(None, None), Some(&stack)).expect("the stack's");
        assert_eq!((local.token.as_str(), local.merchant().expect("the first")), ("secret", "m"));
        let elsewhere = Config::of(&global(Some("https://api.example.com"), None), Some(&stack));
        assert_eq!(elsewhere.err().map(|failure| failure.exit), Some(Exit::Denied));
        let own =
            Config::of(&global(Some("https://api.example.com/"), Some("mine")), Some(&stack)).expect("own");
        assert_eq!((own.api_url.as_str(), own.token.as_str()), ("https://api.example.com", "mine"));
        assert!(own.merchant().is_err());
    }

    #[test]
    fn the_token_never_crosses_the_network_unencrypted() {
        for good in
            ["https://a.example", "http://127.0.0.1:4566/x", "http://localhost", "http://x.localhost:1/"]
        {
            assert!(is_encrypted_or_local(good), "{good}");
        }
        for bad in [
            "http://a.example",
            "http://127.0.0.1.example/",
            "http://a@x.localhost",
            "http://localhost@a.example",
            "ftp://a",
            "",
        ] {
            assert!(!is_encrypted_or_local(bad), "{bad}");
        }
    }
}
