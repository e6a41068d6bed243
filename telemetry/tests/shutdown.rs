//! A signal, sent to this very process: alone in its test binary for that reason.

use std::process::Command;
use std::time::Duration;

use tokio::time::timeout;
use wasmesh_telemetry::shutdown;

#[tokio::test]
async fn a_signal_before_the_first_poll_is_not_lost() {
    let stop = shutdown::signal().unwrap();
    let sent = Command::new("sh").args(["-c", "kill -TERM $PPID"]).status().unwrap();
    assert!(sent.success());
    timeout(Duration::from_secs(5), stop).await.unwrap();
}
