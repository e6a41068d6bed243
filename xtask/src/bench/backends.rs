//! Three backends, each on an address of its own. The first byte of an answer is the backend's name.

use std::process::Command;

use anyhow::Result;

use super::arena::Arena;
use super::measure::{GRPC_STREAM, GRPC_UNARY, Protocol};
use super::process::Process;

/// Where the backends listen, whatever they speak: every proxy's configuration names these.
pub(super) const ADDRESSES: [&str; 3] = ["10.244.1.1:8080", "10.244.1.2:8080", "10.244.1.3:8080"];

/// Starts one, given its name and its address.
type Start = fn(&Arena, char, &str) -> Result<Process>;

/// Starts the three.
pub(super) fn start(arena: &Arena, protocol: Protocol) -> Result<Vec<Process>> {
    start_all(arena, protocol.choose::<Start>([nginx, nghttpd, echo]))
}

/// Starts three that keep requests waiting until they are told to answer.
pub(super) fn start_holding(arena: &Arena) -> Result<Vec<Process>> {
    start_all(arena, |arena, name, address| ours(arena, "hold", name, address))
}

fn start_all(arena: &Arena, start: Start) -> Result<Vec<Process>> {
    let mut all =
        ('1'..).zip(ADDRESSES).map(|(name, address)| start(arena, name, address)).collect::<Result<Vec<_>>>()?;
    all.iter_mut().zip(ADDRESSES).try_for_each(|(process, address)| process.listens(address))?;
    Ok(all)
}

fn nginx(arena: &Arena, name: char, address: &str) -> Result<Process> {
    let config = include_str!("backend.conf")
        .replace("{{name}}", &name.to_string())
        .replace("{{address}}", address)
        .replace("{{body}}", &body(name, 1024));
    let config = arena.write(&format!("backend-{name}.conf"), &config)?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(arena.path("")).arg("-c").arg(config).args(["-e", "stderr"]);
    Process::start(arena, &format!("backend-{name}"), nginx)
}

fn nghttpd(arena: &Arena, name: char, address: &str) -> Result<Process> {
    let folder = format!("backend-{name}");
    for call in [GRPC_UNARY, GRPC_STREAM] {
        arena.write(&format!("{folder}{}", call.path), &body(name, call.bytes))?;
    }
    let (host, port) = address.split_once(':').unwrap_or((address, ""));
    let mut nghttpd = Command::new("nghttpd");
    nghttpd.args(["--no-tls", "--address", host, "--trailer", "grpc-status: 0"]);
    nghttpd.args(["--htdocs", &folder, port]);
    Process::start(arena, &format!("backend-{name}"), nghttpd)
}

fn echo(arena: &Arena, name: char, address: &str) -> Result<Process> {
    ours(arena, "echo", name, address)
}

fn ours(arena: &Arena, what: &str, name: char, address: &str) -> Result<Process> {
    let mut tool = Command::new(arena.path("wasmesh-bench-tools"));
    tool.args([what, "--listen", address, "--name", &name.to_string()]);
    Process::start(arena, &format!("backend-{name}"), tool)
}

/// One line of this length.
fn body(name: char, length: usize) -> String {
    format!("{name}{}\n", "x".repeat(length - 2))
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn a_body_is_a_line_that_begins_with_the_name() {
        assert_eq!(body('2', 5), "2xxx\n");
    }
}
