//! Where everything is measured: a network namespace with one redirect for all, and a folder that goes with it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::peers::{PEERS, Peer, wasmesh};
use super::programs::Programs;
use crate::cargo::search_path;
use crate::prerequisites::Obstacle;

/// Whose traffic is not redirected: the proxies' and the backends', as in a pod.
pub(super) const EXEMPT_UID: u32 = 19000;
/// Whose traffic is: the clients', as an application's.
pub(super) const CLIENT_UID: u32 = 65534;

const RULES: &str = include_str!("rules.nft");

/// Addresses of a pod and of three others, and the way to a service range that exists nowhere.
const NETWORK: [&[&str]; 6] = [
    &["link", "set", "lo", "up"],
    &["address", "add", "10.244.0.2/32", "dev", "lo"],
    &["address", "add", "10.244.1.1/32", "dev", "lo"],
    &["address", "add", "10.244.1.2/32", "dev", "lo"],
    &["address", "add", "10.244.1.3/32", "dev", "lo"],
    &["route", "add", "10.96.0.0/16", "dev", "lo", "src", "10.244.0.2"],
];

/// So that thousands of connections a second do not run out of ports or of conntrack entries.
const SETTINGS: [(&str, &str); 3] = [
    ("ipv4/ip_local_port_range", "20000 65000"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
];

/// Where it all happens.
#[derive(Debug)]
pub(super) struct Arena {
    folder: PathBuf,
    missing: Vec<(String, Obstacle)>,
}

/// Starts this very program in namespaces of its own: network, processes and mounts end with it. It ends when its stdin
/// does, so also when we are killed: nobody has to catch a signal.
pub(super) fn enter(args: &[String]) -> Result<ExitCode> {
    fs::create_dir_all(mount_point())?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(std::env::current_exe()?).args(args).env("PATH", search_path());
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot run unshare")?;
    // Kept: waiting closes what the child still has of ours.
    let _stdin = child.stdin.take();
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

impl Arena {
    pub(super) fn set_up(programs: &Programs) -> Result<Self> {
        thread::spawn(end_with_stdin);
        let folder = mount_point();
        run("mount", &["-t", "tmpfs", "-o", "mode=1777", "tmpfs", &folder.to_string_lossy()], "")?;
        for args in NETWORK {
            run("ip", args, "")?;
        }
        run("nft", &["-f", "-"], &rules())?;
        for (name, value) in SETTINGS {
            fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| format!("cannot set {name}"))?;
        }
        let arena = Self { folder, missing: programs.missing.clone() };
        programs.places.iter().try_for_each(|(name, place)| arena.bring(name, place))?;
        Ok(arena)
    }

    /// A file or folder in here.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file, for everyone to read.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Why this peer cannot be measured.
    pub(super) fn missing(&self, peer: &Peer) -> Option<&str> {
        self.missing.iter().find(|(name, _)| name == peer.name).map(|(_, obstacle)| obstacle.as_str())
    }

    /// Makes a program visible here for the other users: where it lies, under root's home maybe, they may not go.
    fn bring(&self, name: &str, place: &Path) -> Result<()> {
        let target = self.write(name, "")?;
        run("mount", &["--bind", &place.to_string_lossy(), &target.to_string_lossy()], "")
    }
}

/// Exists on the machine as an empty folder; what is in it is seen from inside only.
fn mount_point() -> PathBuf {
    std::env::temp_dir().join("wasmesh-bench")
}

/// The rules with an element for each peer behind them.
fn rules() -> String {
    let captured = PEERS.iter().filter_map(|peer| peer.captured.as_ref());
    let places = captured.map(|captured| (captured.vip.to_owned(), captured.port)).chain(wasmesh::used());
    let elements: Vec<_> = places.map(|(vip, port)| format!("{vip} : {port}")).collect();
    RULES.replace("{{elements}}", &elements.join(", ")).replace("{{exempt}}", &EXEMPT_UID.to_string())
}

fn end_with_stdin() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    std::process::exit(130);
}

fn run(program: &str, args: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut complaint)?;
    }
    ensure!(child.wait()?.success(), "`{program} {}` fails: {}", args.join(" "), complaint.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::rules;

    #[test]
    fn every_proxy_has_its_place_behind_the_one_rule() {
        let rules = rules();
        assert!(!rules.contains("{{"), "{rules}");
        assert_eq!(rules.matches("redirect to").count(), 1);
        for element in ["10.96.0.1 : 7001", "10.96.0.5 : 7005"] {
            assert!(rules.contains(element), "{rules}");
        }
    }
}
