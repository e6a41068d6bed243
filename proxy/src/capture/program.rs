//! Runs the kernel's tools.

use std::{
    env, fmt,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Where administrators' programs are; not on every search path.
const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What tools write when the kernel does not let them.
const DENIED: [&str; 3] = ["Operation not permitted", "Permission denied", "you must be root"];

/// Why a tool did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such program.
    #[error(
        "there is no {name} in PATH, /usr/sbin or /sbin: install the package {package}, in the image of the container"
    )]
    Missing {
        /// The program.
        name: &'static str,
        /// The package it comes in, on Debian and most others.
        package: &'static str,
    },
    /// It could not be run.
    #[error("{program} cannot be run: {error}")]
    Io {
        /// Which.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// It failed.
    #[error("{program} failed: {said}{}", hint(said))]
    Failed {
        /// Which, with its arguments.
        program: String,
        /// What it wrote.
        said: String,
    },
}

impl ProgramError {
    /// Whether the kernel refused for want of a privilege: another tool would be refused as well.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Failed { said, .. } if DENIED.iter().any(|phrase| said.contains(phrase)))
    }
}

/// A tool.
#[derive(Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
}

pub(super) const NFT: Program = Program { name: "nft", package: "nftables" };

impl Program {
    /// Where it is.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(ADMINISTRATORS.map(PathBuf::from));
        folders.map(|folder| folder.join(self.name)).find(|file| file.is_file())
    }

    /// Runs it with this input; what it writes is told only if it fails.
    pub(super) fn run(&self, arguments: &[&str], input: &str) -> Result<(), ProgramError> {
        let path = self.path().ok_or(ProgramError::Missing { name: self.name, package: self.package })?;
        let program = Invocation(self.name, arguments).to_string();
        let failed = |error| ProgramError::Io { program: program.clone(), error };
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that fails early closes its input; what it writes says more than a broken pipe.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        Err(ProgramError::Failed { program, said })
    }
}

struct Invocation<'a>(&'a str, &'a [&'a str]);

impl fmt::Display for Invocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}", self.0)?;
        self.1.iter().try_for_each(|argument| write!(f, " {argument}"))?;
        f.write_str("`")
    }
}

/// What a person can do about it, by what the tool wrote.
fn hint(said: &str) -> &'static str {
    if DENIED.iter().any(|phrase| said.contains(phrase)) {
        "\nThe kernel does not let us, though CAP_NET_ADMIN is there: it must be held in the user namespace that owns the \
         network namespace, and no security module may forbid netlink."
    } else if said.contains("Protocol not supported") || said.contains("Unable to initialize Netlink") {
        "\nThe kernel has no nf_tables: load the modules on the node (`modprobe -a nf_tables nft_chain_nat nft_redir \
         nft_fib_inet nft_reject_inet nft_ct`) or use --backend iptables."
    } else if said.contains("Operation not supported") || said.contains("No such file or directory") {
        "\nThe kernel lacks a part of nf_tables that the rules need: load the modules on the node (`modprobe -a \
         nft_chain_nat nft_redir nft_fib_inet nft_reject_inet nft_ct`) or use --backend iptables."
    } else if said.contains("can't initialize") || said.contains("Table does not exist") {
        "\nThe kernel lacks a table of iptables: load the modules on the node (`modprobe -a iptable_nat iptable_raw \
         iptable_filter ip6table_nat ip6table_raw ip6table_filter xt_conntrack xt_owner xt_addrtype xt_REDIRECT xt_CT`)."
    } else {
        ""
    }
}
