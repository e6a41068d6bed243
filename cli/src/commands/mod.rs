//! The commands that ask a running mesh, and those that make one.

mod endpoints;
mod inject;
mod install;
mod policies;
mod status;
mod uninstall;

pub(crate) use endpoints::endpoints;
pub(crate) use inject::inject;
pub(crate) use install::install;
pub(crate) use status::status;
pub(crate) use uninstall::uninstall;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::Value;

/// Prints the result of a command. A reader that has gone away, `head` for instance, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    print(&format!("{value:#}\n"))
}

/// All in one cell, without a blank; empty if there are none.
fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
