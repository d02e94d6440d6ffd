//! The `onceload` command line: run as a script does, and in a terminal as a person does.

use crate::stack::PATIENCE;
use nix::pty::{Winsize, openpty};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Who runs it, and for which merchant.
#[derive(Clone)]
pub struct Shell {
    pub api_url: String,
    pub token: String,
    pub merchant: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub text: String,
    pub errors: String,
}

impl Ended {
    /// What a script reads.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Shell {
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program =
            std::env::var("ONCELOAD_CLI").expect("`cargo xtask test --only e2e` names the command line");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("TERM", "xterm")
            .env("ONCELOAD_API_URL", &self.api_url)
            .env("ONCELOAD_TOKEN", &self.token)
            .env("ONCELOAD_MERCHANT", &self.merchant)
            .current_dir(std::env::temp_dir());
        command
    }

    /// Without a terminal.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_command(self.command(arguments)).await
    }

    pub async fn run_command(&self, mut command: Command) -> Ended {
        let ran = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
        let Output { status, stdout, stderr } = ran.await.expect("a task").expect("the command line");
        let ended = Ended {
            code: status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&stdout).into_owned(),
            errors: String::from_utf8_lossy(&stderr).into_owned(),
        };
        assert!(!format!("{ended:?}").contains(&self.token), "the token is printed: {ended:?}");
        ended
    }

    /// In a terminal of its own.
    pub fn terminal(&self, arguments: &[&str]) -> Terminal {
        let size = Winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("the terminal's end"));
        let child = self
            .command(arguments)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the command line");
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(String::new()));
        let (seen, mut reader) =
            (Arc::clone(&screen), File::from(pty.master.try_clone().expect("the terminal")));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // It ends with an error when nobody has the other end any more.
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                seen.lock().expect("the screen").push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        Terminal { child, keyboard: File::from(pty.master), screen, token: self.token.clone() }
    }
}

/// A command in a terminal, and all that it has shown.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    token: String,
}

impl Terminal {
    pub fn screen(&self) -> String {
        self.screen.lock().expect("the screen").clone()
    }

    /// Waits until it shows that.
    pub async fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            let over = self.child.try_wait().expect("the command line");
            // What it wrote last may still be on its way.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let late = over.is_some() || Instant::now() > deadline;
            assert!(!late || self.screen().contains(text), "`{text}` is not shown: {}", self.screen());
        }
    }

    pub fn types(&mut self, line: &str) {
        self.keyboard
            .write_all(line.as_bytes())
            .and_then(|()| self.keyboard.write_all(b"\n"))
            .expect("typing");
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Its exit code, once it is over.
    pub async fn ends(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the command line") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.screen());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        let screen = self.screen();
        assert!(!screen.contains(&self.token), "the token is shown: {screen}");
        (status.code().unwrap_or(-1), screen)
    }
}
