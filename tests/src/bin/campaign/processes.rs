//! The processes of the stack's functions and of its database server: killed, frozen and thawed.

use crate::local::Local;
use nix::sys::signal::Signal;
use std::path::Path;
use xtask::process::{self, Identity};

/// A function's process.
pub(crate) struct Function {
    pub name: String,
    pub process: Identity,
}

/// Every process of a function of this stack.
pub(crate) fn functions(local: &Local) -> Vec<Function> {
    let ours = format!("ONCELOAD_ENGINE={}", local.directory.display());
    let found = process::all().filter_map(|process| {
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let mut entries = environment.split('\0');
        if !entries.clone().any(|entry| entry == ours) {
            return None;
        }
        let name = entries.find_map(|entry| entry.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="))?.to_owned();
        Some(Function { name, process })
    });
    found.collect()
}

/// The function's process that has this local port.
pub(crate) fn function_at(local: &Local, port: u16) -> Option<Function> {
    let socket = format!("socket:[{}]", inode_of(port)?);
    functions(local).into_iter().find(|function| {
        let open = std::fs::read_dir(Path::new("/proc").join(function.process.pid.to_string()).join("fd"));
        open.into_iter().flatten().flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|link| link.to_string_lossy() == socket)
        })
    })
}

/// The inode of the socket with this local port (proc(5), /proc/net/tcp).
fn inode_of(port: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&local) && *fields.get(9)? != "0").then(|| fields[9].to_owned())
    })
}

/// Signals every process of a PostgreSQL server, whose working directory is its data.
pub(crate) fn signal_server(directory: &Path, signal: Signal) {
    let data = directory.join("data");
    let data = data.canonicalize().unwrap_or(data);
    for process in process::all() {
        if std::fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|at| at == data) {
            process.signal(signal);
        }
    }
}
