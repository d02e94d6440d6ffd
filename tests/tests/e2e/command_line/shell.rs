//! Runs the `onceload` command line as a script does, and in a terminal as a person does.

use crate::stack::until;
use nix::pty::{Winsize, openpty};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The settings of the command line: the API, the user's token and the merchant.
#[derive(Clone)]
pub(super) struct Shell {
    pub api_url: String,
    pub token: String,
    pub merchant: String,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub code: i32,
    pub text: String,
    pub errors: String,
}

impl Ended {
    /// Standard output as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Shell {
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
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

    /// Runs a command without a terminal.
    pub(super) async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_command(self.command(arguments)).await
    }

    pub(super) async fn run_command(&self, mut command: Command) -> Ended {
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

    /// Runs a command in a terminal of its own.
    pub(super) fn open_terminal(&self, arguments: &[&str]) -> Terminal {
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
        let reading = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Reading fails once the command has exited and its output is read.
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                seen.lock().expect("the screen").push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        Terminal { child, keyboard: File::from(pty.master), screen, reading, token: self.token.clone() }
    }
}

/// A command in a terminal, and everything that it has shown.
pub(super) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    token: String,
}

impl Terminal {
    pub(super) fn screen(&self) -> String {
        self.screen.lock().expect("the screen").clone()
    }

    /// Waits until the screen shows this text; fails at once if the command exits without it.
    pub(super) async fn wait_for(&self, text: &str) {
        until(&format!("`{text}` on the screen"), async || {
            let over = self.reading.is_finished();
            let shown = self.screen().contains(text);
            assert!(shown || !over, "`{text}` is not shown: {}", self.screen());
            shown.then_some(())
        })
        .await;
    }

    pub(super) fn type_line(&mut self, line: &str) {
        self.keyboard
            .write_all(line.as_bytes())
            .and_then(|()| self.keyboard.write_all(b"\n"))
            .expect("typing");
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Waits for the command's end: its exit code and everything it has shown.
    pub(super) async fn wait_for_exit(mut self) -> (i32, String) {
        let status =
            until("the command's exit", async || self.child.try_wait().expect("the command line")).await;
        tokio::task::spawn_blocking(move || self.reading.join()).await.expect("a task").expect("the screen");
        let screen = self.screen.lock().expect("the screen").clone();
        assert!(!screen.contains(&self.token), "the token is shown: {screen}");
        (status.code().unwrap_or(-1), screen)
    }
}
