//! When to stop: SIGTERM from Kubernetes, SIGINT from a person.

use std::io;

use tokio::signal::unix::{SignalKind, signal as listen};

/// A future that ends at the first SIGTERM or SIGINT. Call it inside a runtime with I/O enabled.
///
/// The handlers stand when this returns, not when the future is first polled, so a signal that comes while the process
/// is still starting is not lost. From then on neither signal ends the process by itself.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}: shutting down");
    })
}
