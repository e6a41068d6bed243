//! Takes files out of packages of Debian sid, with apt's own means and its checks of signatures, and without a trace in the
//! system: nothing is installed, and its sources and lists stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::search_path;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// Packages of sid, unpacked in a folder of their own.
pub(super) struct Sid {
    folder: PathBuf,
}

impl Sid {
    /// In `folder`, which is made, and removed in the end.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        let sid = Self { folder };
        for name in ["parts", "lists/partial", "cache/archives/partial", "state", "debs"] {
            fs::create_dir_all(sid.folder.join(name)).context("cannot make a folder for packages of Debian sid")?;
        }
        let mirror = mirror().unwrap_or_else(|| MIRROR.to_owned());
        let source = format!("Types: deb\nURIs: {mirror}\nSuites: sid\nComponents: main\nSigned-By: {KEYRING}\n");
        fs::write(sid.folder.join("parts/sid.sources"), source)?;
        fs::write(sid.folder.join("status"), "")?;
        sid.apt_get(&["update", "--quiet=2"])?;
        Ok(sid)
    }

    /// Unpacks a package, if that has not been done, and returns where one of its files is.
    pub(super) fn file(&self, package: &str, path: &str) -> Result<PathBuf> {
        let unpacked = self.folder.join(package);
        if !unpacked.is_dir() {
            self.apt_get(&["download", "--quiet=2", package])?;
            let deb = fs::read_dir(self.folder.join("debs"))?.filter_map(Result::ok).map(|entry| entry.path());
            let prefix = format!("{package}_");
            let deb = deb.into_iter().find(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
            });
            let deb = deb.with_context(|| format!("apt-get downloaded no package {package}"))?;
            let status = Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked).status();
            ensure!(status.is_ok_and(|status| status.success()), "could not unpack {package} of Debian sid");
        }
        Ok(unpacked.join(path))
    }

    fn apt_get(&self, args: &[&str]) -> Result<()> {
        let at = |option: &str, path: &str| format!("--option={option}={}", self.folder.join(path).display());
        let mut command = Command::new("apt-get");
        command.args([
            "--option=Dir::Etc::SourceList=/dev/null".to_owned(),
            "--option=APT::Sandbox::User=root".to_owned(),
            at("Dir::Etc::SourceParts", "parts"),
            at("Dir::State", "state"),
            at("Dir::State::Lists", "lists"),
            at("Dir::State::Status", "status"),
            at("Dir::Cache", "cache"),
        ]);
        command.args(args).current_dir(self.folder.join("debs")).env("PATH", search_path());
        let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("cannot run apt-get")?;
        ensure!(status.success(), "apt-get {} failed for Debian sid: see above", args.join(" "));
        Ok(())
    }
}

impl Drop for Sid {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The mirror that this system has its packages from, if it is one of all of Debian.
fn mirror() -> Option<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)"]).env("PATH", search_path());
    let output = command.stdin(Stdio::null()).output().ok()?;
    of_debian(&String::from_utf8_lossy(&output.stdout))
}

fn of_debian(uris: &str) -> Option<String> {
    let uris = uris.lines().map(|uri| uri.trim_end_matches('/'));
    uris.filter(|uri| Path::new(uri).ends_with("debian")).map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use super::of_debian;

    #[test]
    fn the_mirror_is_one_that_has_sid() {
        let uris =
            "http://deb.debian.org/debian-security/\nhttp://mirror.example/debian/\nhttp://other.example/debian/\n";
        assert_eq!(of_debian(uris).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(of_debian("http://archive.ubuntu.com/ubuntu/\n"), None);
    }
}
