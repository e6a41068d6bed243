//! `wasmesh policy record`: what a policy is given and decides, written down while it happens.

use std::{
    fs::File,
    io::{BufReader, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

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
    let mut file = File::create(&options.file).with_context(|| format!("cannot write {name}"))?;
    let port = options.port.map_or_else(String::new, |port| format!("&port={port}"));
    let (picks, seconds) = (options.picks, options.seconds);
    let path = format!("/debug/recording?service={service}&picks={picks}&seconds={seconds}{port}");
    eprintln!("recording up to {picks} picks of {service}, for up to {seconds} s");
    let followed = admin::follow(addr, &path, Duration::from_secs(seconds) + PATIENCE, &mut file);
    if followed.is_err() && file.metadata().is_ok_and(|file| file.len() == 0) {
        // Nobody wants an empty file. That it cannot be removed changes nothing about what went wrong.
        let _ = std::fs::remove_file(&options.file);
    }
    followed?;
    file.flush().with_context(|| format!("cannot write {name}"))?;
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
    let Some(end) = recording.end else {
        bail!(
            "{name} was cut off after {picks} picks: the proxy has ended, or the connection to it; they can be replayed"
        );
    };
    let head = &recording.head;
    print(&format!(
        "{name}: {picks} picks of {service} port {}, policy {}, by {instances}; {}{strings}\n",
        head.port, head.policy, end.why
    ))
}

/// Reads a recording, with errors in the words of whoever has it.
pub(super) fn read(file: &Path) -> anyhow::Result<Recording> {
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    Recording::read(BufReader::new(opened)).with_context(|| format!("{name} is no recording"))
}
