//! What a rung needs of the machine: checked, installed where we may, else said precisely.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::cargo::{has_program, search_path};
use crate::kube;
use crate::rungs::Need;

/// The machine, as far as tests may change it.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// The package lists are fetched once per run.
    lists_are_fresh: bool,
}

/// Why a rung cannot run here, and what to do about it.
pub(crate) type Obstacle = String;

impl Machine {
    /// Makes what is needed available. Obstacles that only a person can remove come first, so that nothing is
    /// installed for a rung that cannot run anyway.
    pub(crate) fn provide(&mut self, needs: &[Need]) -> Result<(), Obstacle> {
        if needs.contains(&Need::Root) && !is_root() {
            return Err("needs root: run it as root, in a container for instance".to_owned());
        }
        self.install(needs)?;
        needs.iter().try_for_each(works)
    }

    fn install(&mut self, needs: &[Need]) -> Result<(), Obstacle> {
        let missing = missing_packages(needs);
        if missing.is_empty() {
            return Ok(());
        }
        let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
        if !has_program("apt-get") {
            return Err(format!("needs the programs of the Debian packages {}", missing.join(" ")));
        }
        if !is_root() {
            return Err(format!("needs packages: run `sudo {by_hand}`"));
        }
        eprintln!("xtask: installing {}", missing.join(" "));
        // Stale lists are no reason to give up: the package may be had all the same.
        self.lists_are_fresh = self.lists_are_fresh || apt_get(&["update"]);
        let mut install = vec!["install", "--yes", "--no-install-recommends"];
        install.extend(&missing);
        let installed = apt_get(&install) && missing_packages(needs).is_empty();
        installed.then_some(()).ok_or(format!("needs packages that could not be installed: see above, run `{by_hand}`"))
    }
}

fn missing_packages(needs: &[Need]) -> Vec<&'static str> {
    let missing = needs.iter().filter_map(|need| match need {
        Need::Program { name, package } => (!has_program(name)).then_some(*package),
        Need::Root | Need::Kube(_) | Need::Works { .. } => None,
    });
    missing.collect()
}

fn works(need: &Need) -> Result<(), Obstacle> {
    match need {
        Need::Program { .. } | Need::Root => Ok(()),
        Need::Kube(sources) => kube::provide(sources),
        Need::Works { what, script } => succeeds(what, script),
    }
}

fn succeeds(what: &str, script: &str) -> Result<(), Obstacle> {
    match Command::new("sh").args(["-c", script]).env("PATH", search_path()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("needs {what}: {}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")))
        }
        Err(error) => Err(format!("needs {what}: {error}")),
    }
}

/// On stderr, so that stdout stays the tests'.
fn apt_get(args: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("PATH", search_path());
    command.stdin(Stdio::null()).stdout(std::io::stderr()).status().is_ok_and(|status| status.success())
}

/// The kernel shows a process's folder as owned by its effective user.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::{Machine, missing_packages};
    use crate::rungs::Need;

    #[test]
    fn what_is_there_is_not_installed() {
        let shell = Need::Program { name: "sh", package: "dash" };
        assert!(missing_packages(&[shell, Need::Root]).is_empty());
        let moon = Need::Program { name: "wasmesh-no-such-program", package: "moon" };
        assert_eq!(missing_packages(&[shell, moon]), ["moon"]);
    }

    #[test]
    fn what_does_not_work_is_said_in_its_own_words() {
        let need = Need::Works { what: "wings", script: "echo no feathers >&2; exit 1" };
        assert_eq!(Machine::default().provide(&[need]), Err("needs wings: no feathers".to_owned()));
        assert_eq!(Machine::default().provide(&[Need::Works { what: "nothing", script: "true" }]), Ok(()));
    }
}
