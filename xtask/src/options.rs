//! What stands on the command line. By hand: a parser's crate would cost a fresh clone more time than these lines.

use anyhow::{Context, Result, bail};

use crate::rungs::{BY_NAME, RUNGS, Rung};

/// Of `cargo xtask test`.
#[derive(Debug, Default)]
pub(crate) struct Test {
    pub(crate) allow_skips: bool,
    /// Empty for all but those that are run only by name.
    rungs: Vec<String>,
}

/// Of `cargo xtask demo`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Demo {
    pub(crate) release: bool,
    /// For `wasmesh demo`.
    pub(crate) args: Vec<String>,
}

impl Test {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match arg.split_once('=').unwrap_or((arg, "")) {
                ("--allow-skips", "") => options.allow_skips = true,
                ("--rung", "") => options.add(args.next().context("--rung needs a name")?)?,
                ("--rung", name) => options.add(name)?,
                _ => bail!("test does not know {arg:?}; `cargo xtask` alone lists what it knows"),
            }
        }
        Ok(options)
    }

    /// In the order of the ladder, whatever the order on the command line.
    pub(crate) fn rungs(&self) -> impl Iterator<Item = &'static Rung> {
        let all = if self.rungs.is_empty() { &[] } else { BY_NAME };
        let rungs = RUNGS.iter().chain(all);
        rungs.filter(|rung| self.rungs.is_empty() || self.rungs.iter().any(|name| name == rung.name))
    }

    fn add(&mut self, name: &str) -> Result<()> {
        let names: Vec<_> = RUNGS.iter().chain(BY_NAME).map(|rung| rung.name).collect();
        if !names.contains(&name) {
            bail!("no rung is named {name:?}; there are {}", names.join(", "));
        }
        self.rungs.push(name.to_owned());
        Ok(())
    }
}

impl Demo {
    /// `--release` is ours; all else, and whatever follows `--`, is the demo's.
    pub(crate) fn parse(args: &[String]) -> Self {
        let mut parts = args.splitn(2, |arg| arg == "--");
        let ours = parts.next().unwrap_or_default();
        let theirs = parts.next().unwrap_or_default();
        let (release, mut args): (Vec<_>, Vec<_>) = ours.iter().cloned().partition(|arg| arg == "--release");
        args.extend_from_slice(theirs);
        Self { release: !release.is_empty(), args }
    }
}

#[cfg(test)]
mod tests {
    use super::{Demo, Test};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check_test(line: &str, allow_skips: bool, rungs: &str) {
        let options = Test::parse(&words(line)).unwrap();
        let names: Vec<_> = options.rungs().map(|rung| rung.name).collect();
        assert_eq!((options.allow_skips, names.join(" ").as_str()), (allow_skips, rungs), "{line:?}");
    }

    #[track_caller]
    fn check_demo(line: &str, release: bool, args: &str) {
        assert_eq!(Demo::parse(&words(line)), Demo { release, args: words(args) }, "{line:?}");
    }

    #[test]
    fn tests_run_in_the_order_of_the_ladder() {
        check_test("", false, "lint deny mesh guests peers api netns names rows demo bench drill fuzz");
        check_test("--allow-skips", true, "lint deny mesh guests peers api netns names rows demo bench drill fuzz");
        check_test("--rung netns --rung=lint", false, "lint netns");
        check_test("--rung cluster --rung netns", false, "netns cluster");
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for line in ["--rung", "--rung moon", "--rung=", "--allow-skips=no", "mesh"] {
            assert!(Test::parse(&words(line)).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_demo_gets_its_arguments() {
        check_demo("", false, "");
        check_demo("--json", false, "--json");
        check_demo("--release -- --json", true, "--json");
        check_demo("--json -- --release -- x", false, "--json --release -- x");
    }
}
