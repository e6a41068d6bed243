//! `wasmesh check`: whether a cluster can have the mesh, or has it as it should.

mod facts;
mod fetch;
mod finding;
mod judge;

use std::process::ExitCode;

use anyhow::Context;

use self::finding::{Finding, Level};
use super::{print, print_json};
use crate::{
    deploy,
    kubernetes::Cluster,
    options::{self, Output},
};

/// Looks, judges and says. It fails if there is an error among what it has found.
pub(crate) fn check(options: &options::Check) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(options.context.as_deref())?;
    let findings = cluster.wait(look(&cluster, options.pre))?;
    match options.output {
        Output::Table => print(&finding::text(&findings))?,
        Output::Json => print_json(&finding::json(&findings))?,
    };
    let has_errors = findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if has_errors { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn look(cluster: &Cluster, before: bool) -> anyhow::Result<Vec<Finding>> {
    let facts = fetch::cluster(&cluster.client, before).await?;
    if before {
        return Ok(judge::before(&facts));
    }
    let mesh = fetch::mesh(&cluster.client, &facts.namespaces).await;
    let objects = deploy::objects()?;
    let crd = objects.iter().find(|object| object["kind"] == "CustomResourceDefinition");
    Ok(judge::after(&facts, &mesh, crd.context("deploy/ has no definition of policies")?))
}
