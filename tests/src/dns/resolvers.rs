//! Programs that ask as applications do: by the resolvers of glibc, musl and Go.

use std::{collections::BTreeSet, path::Path, process::Command};

use tempfile::TempDir;

/// By which of them.
pub const RESOLVERS: [&str; 3] = ["glibc", "musl", "go"];

/// Options of resolv.conf: more patience than the usual five seconds, since what is tested is what they find, on machines that have other
/// things to do; and the kernel loses one of two questions at once through NAT every so often.
pub const PATIENT: &str = "options timeout:10 attempts:5";

/// The built programs.
pub struct Resolvers(TempDir);

impl Resolvers {
    /// Builds them, in a second.
    ///
    /// # Panics
    /// When there is no `cc`, `musl-gcc` or `go`.
    pub fn build() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dns/resolvers");
        let build = |command: &mut Command| {
            let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        for (compiler, program) in [("cc", "glibc"), ("musl-gcc", "musl")] {
            build(Command::new(compiler).arg(sources.join("main.c")).arg("-o").arg(folder.path().join(program)));
        }
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(folder.path().join("go")).arg(sources.join("main.go")).env("CGO_ENABLED", "0");
        build(&mut go);
        Self(folder)
    }

    /// The addresses that one of them finds for each name, run as `command` runs a program.
    ///
    /// # Panics
    /// When it cannot be run.
    #[track_caller]
    pub fn ask(&self, resolver: &str, names: &[&str], command: impl Fn(&str) -> Command) -> Vec<BTreeSet<String>> {
        let program = self.0.path().join(resolver);
        let output = command(program.to_str().expect("a path")).args(names).output().expect("a resolver");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{resolver}: {said}");
        let found: Vec<_> = said.lines().map(|line| line.split(' ').skip(1).map(str::to_owned).collect()).collect();
        assert_eq!(found.len(), names.len(), "{resolver}: {said}");
        found
    }
}
