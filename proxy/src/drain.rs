//! How a proxy stops: it goes on accepting, asks every connection to end after what it is doing, and leaves when all
//! have ended or the time is up.

use tokio::sync::watch;

/// Tells that the proxy should come to its end. Cheap to clone.
#[derive(Clone)]
pub struct Drain(watch::Receiver<bool>);

/// Starts the drain.
pub struct DrainTrigger(watch::Sender<bool>);

/// A drain that has not begun, and what begins it.
pub fn channel() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger(sender), Drain(receiver))
}

impl DrainTrigger {
    /// Begins the drain.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Ends when the drain begins, or at once if it has.
    pub async fn begun(&self) {
        // The trigger is gone only when the process is ending anyway.
        let _ = self.0.clone().wait_for(|begun| *begun).await;
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}
