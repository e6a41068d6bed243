//! What is said of modules from afar: each event is one function that writes its log line and counts it.

use std::time::Duration;

use metrics::counter;

use super::remote::{Fault, Remote};
use crate::translate::policy::Module;

const FETCHES: &str = "wasmesh_control_plane_module_fetches_total";

/// Gives the metrics their help texts and their zeros.
pub(super) fn describe() {
    metrics::describe_counter!(FETCHES, "Attempts to fetch a module from afar, by result: fetched, failed or refused.");
    for result in ["fetched", "failed", "refused"] {
        counter!(FETCHES, "result" => result).absolute(0);
    }
}

/// A module has been fetched and is what it should be.
pub(super) fn fetched(remote: &Remote, module: &Module, took: Duration) {
    counter!(FETCHES, "result" => "fetched").increment(1);
    let (digest, bytes) = (module.digest(), module.bytes().len());
    tracing::info!(%digest, bytes, seconds = took.as_secs_f64(), "fetched {remote}");
}

/// It has not. What is wrong is said with the policies that name it.
pub(super) fn not_fetched(remote: &Remote, fault: &Fault) {
    let result = if fault.may_pass { "failed" } else { "refused" };
    counter!(FETCHES, "result" => result).increment(1);
    tracing::debug!("{remote}: {}", fault.message);
}
