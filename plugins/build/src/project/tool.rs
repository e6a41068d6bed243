//! Programs of others, and what to do when they are not there.

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, anyhow, bail, ensure};

/// Runs a compiler; what it says is shown on stderr.
pub(super) fn run(command: &mut Command, install: &str) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.map_err(|error| absent(command, &error, install))?;
    ensure!(status.success(), "{} has failed ({status}): see above", program(command));
    Ok(())
}

/// Asks a program something, and reads its answer.
pub(super) fn ask(command: &mut Command, install: &str) -> anyhow::Result<String> {
    let output = output(command.stderr(Stdio::piped()), install)?;
    if !output.status.success() {
        bail!("{} has failed: {}", program(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program for what it prints, and shows what it says besides.
pub(super) fn output(command: &mut Command, install: &str) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).output().map_err(|error| absent(command, &error, install))
}

/// Reads what a compiler has written.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("the compiler has not written {}", file.display()))
}

/// `major.minor` in front of a version, or behind a prefix of letters.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[digits..].split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn absent(command: &Command, error: &std::io::Error, install: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no program {}: {install}", program(command)),
        _ => anyhow!("cannot run {}: {error}", program(command)),
    }
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_to_install() {
        let error = run(&mut Command::new("wasmesh-no-such-compiler"), "install the moon").unwrap_err().to_string();
        assert_eq!(error, "there is no program wasmesh-no-such-compiler: install the moon");
    }

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("go1.26.8", Some((1, 26))),
            ("go1.27rc1", Some((1, 27))),
            ("v20.20.2", Some((20, 20))),
            ("Version 0.28.20", Some((0, 28))),
            ("none", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
