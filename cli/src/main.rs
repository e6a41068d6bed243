//! `wasmesh`: the command line of the mesh.

mod admin;
mod commands;
mod demo;
mod deploy;
mod kubernetes;
mod options;
mod pages;
mod policy;
mod service_name;
mod table;
mod yaml;

use std::{process::ExitCode, time::Instant};

use clap::{CommandFactory, Parser};
use options::{Cli, Command};

fn main() -> ExitCode {
    let started = Instant::now();
    let outcome = match Cli::parse().command {
        None => help(),
        Some(Command::Install(options)) => commands::install(&options),
        Some(Command::Uninstall(options)) => commands::uninstall(&options),
        Some(Command::Inject(options)) => commands::inject(&options),
        Some(Command::Check(options)) => commands::check(&options),
        Some(Command::Status(options)) => commands::status(&options),
        Some(Command::Endpoints(options)) => commands::endpoints(&options),
        Some(Command::Policy { command }) => policy::run(&command),
        Some(Command::Demo(options)) => demo::run(&options, started),
        Some(Command::CompilePolicy) => return wasmesh_policy_host::compile_child_main(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("wasmesh: {error:#}");
        ExitCode::FAILURE
    })
}

fn help() -> anyhow::Result<ExitCode> {
    Cli::command().print_long_help()?;
    Ok(ExitCode::SUCCESS)
}
