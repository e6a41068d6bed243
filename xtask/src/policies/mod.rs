//! `cargo xtask policies`: builds every example policy and every hostile one, as components.
//!
//! What makes components of modules takes longer to compile than all the rest of xtask, so it is a feature that only
//! this task switches on, by starting xtask once more.

#[cfg(feature = "policies")]
mod build;
#[cfg(feature = "policies")]
mod c;
#[cfg(feature = "policies")]
mod guests;
#[cfg(feature = "policies")]
mod npm;
#[cfg(feature = "policies")]
mod rust;

/// Outside: the same task, with what it needs.
#[cfg(not(feature = "policies"))]
pub(crate) fn run(args: &[String]) -> anyhow::Result<std::process::ExitCode> {
    use std::process::ExitCode;

    let mut again = crate::cargo::cargo(&["run", "--quiet", "--package", "xtask", "--features", "policies", "--"]);
    let status = again.arg("policies").args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

#[cfg(feature = "policies")]
pub(crate) use build::run;
