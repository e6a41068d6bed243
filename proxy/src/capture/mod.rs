//! `wasmesh-proxy capture`: leads a pod's connections to the proxy, and stops doing so without cutting any.
//!
//! What is to be captured is a [`Plan`](wasmesh_core::capture::Plan), pure data. Here it is printed or handed to the
//! kernel's tools ([`backend`]), once or for as long as the pod lives ([`hold`]). The proxy itself never holds a
//! privilege: it says over a unix socket ([`socket`]) which destinations must be refused, by [`refuse_client`].

pub mod backend;
mod environment;
mod events;
pub mod hold;
pub mod options;
mod program;
mod ready;
pub mod refuse_client;
mod session;
mod socket;

use std::{pin::pin, time::Duration};

use anyhow::Context;
use tokio::time::sleep;
use wasmesh_core::{
    capture::{RefuseSet, restore_text},
    service::Family,
};
use wasmesh_telemetry::{logging, shutdown};

use backend::Rules;
use options::{BackendChoice, Command, Drain, Hold, Install, Print};
use ready::ReadyFile;

/// How long rules that cannot be installed are let be, where a pod waits for them.
const RETRY: Duration = Duration::from_secs(10);

/// Does what is asked.
///
/// # Errors
/// When the options contradict themselves, or the machine lacks something; the error names it and the remedy.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Print(print) => self::print(&print),
        Command::Install(install) => self::install(&install),
        Command::Drain(drain) => self::drain(&drain),
        Command::Run(options) => {
            logging::init("info");
            let stop = shutdown::signal()?;
            hold(&options, stop).await
        }
        Command::Ready(options) => ready::check(&options.ready_file),
    }
}

async fn hold(options: &Hold, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut stop = pin!(stop);
    let ready = ReadyFile::new(options.ready_file.as_deref())?;
    loop {
        let held = match environment::check(options.system.allow_host_network) {
            Ok(()) => hold::run(options, &ready, stop.as_mut()).await,
            Err(unfit) => Err(unfit.into()),
        };
        let Err(error) = held else { return Ok(()) };
        if options.ready_file.is_none() {
            return Err(error);
        }
        // Somebody waits with a probe, and must not wait for ever: without capture the pod works as it would without the mesh.
        events::failed_open(&error);
        ready.mark();
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = sleep(RETRY) => {}
        }
    }
}

fn print(options: &Print) -> anyhow::Result<()> {
    let plan = options.plan.plan()?;
    let nothing = RefuseSet::new();
    match options.backend {
        BackendChoice::Auto | BackendChoice::Nftables => print!("{}", plan.nftables(&nothing)),
        BackendChoice::Iptables => {
            for (family, program) in [(Family::V4, "iptables-restore"), (Family::V6, "ip6tables-restore")] {
                let text = restore_text(&plan.iptables(family, &nothing), &[].into());
                print!("# {family}, for `{program} --noflush`\n{text}");
            }
        }
    }
    Ok(())
}

fn install(options: &Install) -> anyhow::Result<()> {
    let plan = options.plan.plan()?;
    environment::check(options.system.allow_host_network)?;
    let rules = Rules::install(&plan, options.system.backend, &RefuseSet::new())
        .context("the rules cannot be installed; nothing is captured that was not captured before")?;
    if let Some(why) = rules.passed_over() {
        eprintln!("{} is used instead: {why}", rules.backend());
    }
    println!("installed {}", rules.backend());
    Ok(())
}

fn drain(options: &Drain) -> anyhow::Result<()> {
    environment::check(options.system.allow_host_network)?;
    let drained = backend::drain(options.system.backend).context("the rules cannot be drained")?;
    match drained.as_slice() {
        [] => println!("nothing is installed"),
        drained => drained.iter().for_each(|backend| println!("drained {backend}")),
    }
    Ok(())
}
