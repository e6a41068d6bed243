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
pub mod refuse_client;
mod session;
mod socket;

use anyhow::Context;
use wasmesh_core::{
    capture::{RefuseSet, restore_text},
    service::Family,
};
use wasmesh_telemetry::{logging, shutdown};

use backend::Rules;
use options::{BackendChoice, Command, Drain, Install, Print};

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
            environment::check(options.system.allow_host_network)?;
            hold::run(&options, stop).await
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
