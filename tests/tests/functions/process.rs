//! Runs a step in a process that a test can kill.

use onceload_tests::World;
use onceload_tests::objects::{ACCESS_KEY, BUCKET, SECRET_KEY};
use serde_json::Value;
use std::io::Read;
use std::process::{Child, Command, Stdio};

/// A function's process; dropping the value kills it.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(world: &World, step: &str, input: &Value) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_step"))
            .args([step, &input.to_string()])
            .env("DATABASE_URL", world.db.url())
            .env("BUCKET", BUCKET)
            .env("AWS_ENDPOINT_URL", &world.s3.endpoint)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "eu-central-1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the step's process");
        Self(child)
    }

    /// Sends SIGKILL: no destructor runs, and no connection is closed in order.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), None, "it had ended by itself: {status}");
    }

    /// Waits for the process to exit and returns the peak of its memory in bytes.
    pub(crate) fn peak_memory(mut self) -> u64 {
        let mut output = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        self.0.wait().unwrap();
        let kibibytes: u64 = output.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
