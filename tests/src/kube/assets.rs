//! Where the binaries are.

use std::{env, path::PathBuf};

/// The path of a binary of Kubernetes.
///
/// # Panics
/// When it is not there: a test that needs it was asked for and never passes without.
#[track_caller]
pub(super) fn asset(name: &str) -> PathBuf {
    let Some(folder) = env::var_os("KUBEBUILDER_ASSETS") else {
        panic!(
            "needs {name}: run `cargo xtask test --rung api`, or set KUBEBUILDER_ASSETS to what `cargo xtask kube` prints"
        );
    };
    let path = PathBuf::from(folder).join(name);
    assert!(path.is_file(), "{} is not there; `cargo xtask kube` prints a folder that has it", path.display());
    path
}
