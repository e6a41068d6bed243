//! Counts the connections that a worker serves, so that a drain knows when the last one has ended.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// The connections of one worker.
#[derive(Clone, Default)]
pub struct Connections {
    open: Rc<Cell<usize>>,
    ended: Rc<Notify>,
}

/// One connection; counted until it is dropped.
pub struct OpenConnection(Connections);

impl Connections {
    /// Counts a connection for as long as the returned value lives.
    pub fn enter(&self) -> OpenConnection {
        self.open.set(self.open.get() + 1);
        OpenConnection(self.clone())
    }

    /// Ends when no connection is open.
    pub async fn all_ended(&self) {
        // One thread: nothing happens between the check and the wait.
        while self.open.get() > 0 {
            self.ended.notified().await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Connections { open, ended } = &self.0;
        open.set(open.get() - 1);
        ended.notify_one();
    }
}
