//! `wasmesh policy`: what authors of policies work with. Policies run here as they do in a sidecar, on the same host.

mod bench;
mod build;
mod check;
mod explain;
mod held;
mod live;
mod load;
pub(crate) mod new;
mod push;
mod record;
mod replay;
mod simulate;

use std::process::ExitCode;

use crate::options::PolicyCommand;

/// Runs one of the tools.
pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Bench(options) => bench::run(options),
        PolicyCommand::Build(options) => build::run(options),
        PolicyCommand::Check(options) => check::run(options),
        PolicyCommand::Explain(options) => explain::run(options),
        PolicyCommand::New(options) => new::run(options),
        PolicyCommand::Push(options) => push::run(options),
        PolicyCommand::Record(options) => record::run(options),
        PolicyCommand::Replay(options) => replay::run(options),
        PolicyCommand::Simulate(options) => simulate::run(options),
        PolicyCommand::Test(options) => held::run(options),
    }
}
