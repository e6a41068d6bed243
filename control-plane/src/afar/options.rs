//! What the administrator says of modules from afar.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use wasmesh_core::afar::Pattern;

/// What the administrator says of modules from afar.
#[derive(Debug, Clone, Args)]
pub struct AfarOptions {
    /// Where policies may have their modules from: oci://HOST/PATH/* or https://HOST/PATH/*, or one repository or URL without the *;
    /// oci+http:// and http:// for servers without TLS. May be given more than once; without it nothing is fetched
    #[arg(long, value_name = "PATTERN")]
    pub allow_modules: Vec<Pattern>,

    /// Where servers that modules come from may redirect to and have their tokens: https://HOST/PATH/* or one URL; policies cannot name
    /// these. May be given more than once
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::of_urls)]
    pub allow_module_redirects: Vec<Pattern>,

    /// Certificates of authorities, PEM, for servers that modules come from; besides those that browsers trust
    #[arg(long, value_name = "FILE")]
    pub module_ca: Option<PathBuf>,

    /// Public key of cosign, PEM: only images that it has signed are taken, and nothing from URLs
    #[arg(long, value_name = "FILE")]
    pub module_cosign_key: Option<PathBuf>,

    /// In a cluster: let policies name Secrets of their namespace with a registry's credentials. The control plane must be allowed to
    /// get them there
    #[arg(long)]
    pub module_pull_secrets: bool,

    /// How long fetching a module may take
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = crate::options::some_seconds)]
    pub module_timeout: Duration,
}
