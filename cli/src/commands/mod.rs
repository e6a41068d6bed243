//! The commands that ask a running mesh, and those that make one.

mod check;
mod endpoints;
mod find;
mod inject;
mod install;
mod policies;
mod status;
mod uninstall;

pub(crate) use check::check;
pub(crate) use endpoints::endpoints;
pub(crate) use find::find;
pub(crate) use inject::inject;
pub(crate) use install::install;
pub(crate) use status::status;
pub(crate) use uninstall::uninstall;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::Value;

use crate::{admin::AdminAddr, kubernetes::Cluster, options::Whom};

/// The admin port of a sidecar in a pod.
const SIDECAR_PORT: u16 = 19020;

/// Does something with the admin address that is meant, which may be one in a pod.
pub(crate) fn ask(whom: &Whom, work: impl FnOnce(&AdminAddr) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let Some(pod) = &whom.pod else { return work(&whom.admin) };
    let cluster = Cluster::connect(whom.context.as_deref())?;
    let (namespace, name) = cluster.meshed_pod(pod)?;
    let forward = cluster.forward(&namespace, &name, SIDECAR_PORT)?;
    work(&forward.addr).with_context(|| format!("asking the sidecar of pod {namespace}/{name}"))
}

/// Prints the result of a command. A reader that has gone away, `head` for instance, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// The same for JSON.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    print(&format!("{value:#}\n"))
}

/// All in one cell, without a blank; empty if there are none.
fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
