//! Calls kubectl, as users do.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs kubectl to its end.
///
/// # Panics
/// When it cannot be started.
pub(super) fn kubectl(program: &Path, kubeconfig: &Path, cache: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(cache).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // It reads all before it writes anything, or nothing: neither side waits for the other.
    let written = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("the output of kubectl");
    assert!(written.is_ok() || !output.status.success(), "kubectl {args:?} does not take its input");
    output
}

/// What it said.
///
/// # Panics
/// When it failed.
#[track_caller]
pub(super) fn said(args: &[&str], output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {}: {error}", args.join(" "));
    String::from_utf8(output.stdout).expect("text from kubectl")
}
