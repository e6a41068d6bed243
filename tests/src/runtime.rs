//! One runtime for everything in a test that is not the mesh itself: backends and fakes.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The runtime of backends, fakes and clients that are asynchronous.
///
/// # Panics
/// When the system gives no threads.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}
