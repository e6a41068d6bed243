//! `wasmesh policy record`: what a policy is given and decides, written down while it happens.

use std::{fs::File, io::BufReader, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use wasmesh_policy_recording::Recording;

use crate::{
    admin::{self, AdminAddr},
    commands::{ask, find, print},
    options,
    pages::{self, Snapshot},
};

/// Beside the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records into a file and says what is in it.
pub(super) fn run(options: &options::RecordPolicy) -> anyhow::Result<ExitCode> {
    ask(&options.whom, |addr| of(addr, options))
}

fn of(addr: &AdminAddr, options: &options::RecordPolicy) -> anyhow::Result<ExitCode> {
    let Snapshot::Proxy(proxy) = pages::recognise(addr, &admin::page(addr, "/debug/snapshot")?)? else {
        bail!("{addr} is a control plane: policies pick in proxies, so ask a proxy's admin address");
    };
    let service = &find(&proxy, &options.service)?.service;
    let name = options.file.display();
    let port = options.port.map_or_else(String::new, |port| format!("&port={port}"));
    let (picks, seconds) = (options.picks, options.seconds);
    let path = format!("/debug/recording?service={service}&picks={picks}&seconds={seconds}{port}");
    eprintln!("recording up to {picks} picks of {service}, for up to {seconds} s");
    // What was recorded before is not lost to a proxy that has nothing to record.
    let create = || File::create(&options.file).with_context(|| format!("cannot write {name}"));
    admin::follow(addr, &path, Duration::from_secs(seconds) + PATIENCE, create)
        .with_context(|| format!("recording {service}; what is in {name} by then can be replayed"))?;
    let recording = read(&options.file)?;
    let picks = recording.picks();
    let instances = match recording.instances.len() {
        1 => "1 instance".to_owned(),
        several => format!("{several} instances"),
    };
    let strings = match recording.with_strings() {
        0 => String::new(),
        some => format!(
            "\n{some} of the requests had strings that the policy may read: these are not recorded, and cannot be replayed"
        ),
    };
    let Some(end) = &recording.end else {
        bail!(
            "{name} was cut off after {picks} picks: the proxy has ended, or the connection to it; they can be replayed"
        );
    };
    if !recording.is_whole() {
        bail!("{name} has {picks} of {} picks: {}; those that are there can be replayed", end.picks, end.why);
    }
    let nothing = match picks {
        0 => {
            "\nno pick came: nobody asked for the service through this proxy, or a candidate decides here in place of the policy"
        }
        _ => "",
    };
    let head = &recording.head;
    print(&format!(
        "{name}: {picks} picks of {service} port {}, policy {}, by {instances}; {}{strings}{nothing}\n",
        head.port, head.policy, end.why
    ))
}

/// Reads a recording, with errors in the words of whoever has it.
pub(super) fn read(file: &Path) -> anyhow::Result<Recording> {
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    Recording::read(BufReader::new(opened)).with_context(|| format!("{name} is no recording"))
}
