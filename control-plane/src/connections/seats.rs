//! The places of a port, shared by its connections.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::table::{Limits, Reason, Table};

const OPEN: &str = "wasmesh_control_plane_connections";
const CLOSED: &str = "wasmesh_control_plane_connections_closed_total";

/// Gives the metrics their help texts.
pub fn describe() {
    metrics::describe_gauge!(OPEN, "Connections open, by port.");
    metrics::describe_counter!(
        CLOSED,
        "Connections ended or refused by the control plane, by port and reason: source (too many from one address), total \
         (too many), overdue (nothing was asked, or not to its end)."
    );
}

/// The places of a port. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Seats(Arc<Shared>);

struct Shared {
    port: &'static str,
    started: Instant,
    table: Mutex<Table<oneshot::Sender<()>>>,
}

/// A connection's place. It is free again when this is dropped.
pub struct Seat {
    seats: Seats,
    id: u64,
    rests: AtomicBool,
    /// Calls under way, for those connections that have several at once.
    calls: Mutex<usize>,
}

/// A call that is being served on a connection. As long as there is one, the place is the connection's own; when the last one is
/// dropped, it [rests](Seat::rests).
pub struct Call(Arc<Seat>);

impl Seats {
    /// The places of a port, by its name in metrics.
    #[must_use]
    pub fn new(port: &'static str, limits: Limits) -> Self {
        gauge!(OPEN, "port" => port).set(0);
        for reason in [Reason::Source, Reason::Total, Reason::Overdue] {
            counter!(CLOSED, "port" => port, "reason" => name(reason)).absolute(0);
        }
        Self(Arc::new(Shared { port, started: Instant::now(), table: Mutex::new(Table::new(limits)) }))
    }

    /// A place for a connection from there, and what ends when it is taken away. None if there is none, and none that could be
    /// taken from somebody else.
    #[must_use]
    pub fn take(&self, from: SocketAddr) -> Option<(Seat, oneshot::Receiver<()>)> {
        let (tell, told) = oneshot::channel();
        let from = from.ip().to_canonical();
        let given = {
            let mut table = self.lock();
            let given = table.enter(from, tell, self.now());
            self.count(&table);
            given
        };
        match given {
            Ok(given) => {
                if let Some((_, reason)) = given.instead_of {
                    self.closed(reason, Some(from));
                }
                let rests = AtomicBool::new(false);
                Some((Seat { seats: self.clone(), id: given.id, rests, calls: Mutex::default() }, told))
            }
            Err(reason) => {
                self.closed(reason, Some(from));
                None
            }
        }
    }

    /// Ends all connections that take too long.
    pub fn clear(&self) {
        let overdue = {
            let mut table = self.lock();
            let overdue = table.clear(self.now());
            self.count(&table);
            overdue
        };
        overdue.iter().for_each(|_| self.closed(Reason::Overdue, None));
    }

    /// Under the lock, so that the last one to count has the last word.
    fn count(&self, table: &Table<oneshot::Sender<()>>) {
        gauge!(OPEN, "port" => self.0.port).set(table.len() as f64);
    }

    fn closed(&self, reason: Reason, from: Option<IpAddr>) {
        let port = self.0.port;
        counter!(CLOSED, "port" => port, "reason" => name(reason)).increment(1);
        tracing::debug!(port, reason = name(reason), ?from, "a connection is ended, to have its place");
    }

    fn lock(&self) -> MutexGuard<'_, Table<oneshot::Sender<()>>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.started.elapsed()
    }
}

impl Seat {
    /// Something has been read: if nothing was being asked, something is now.
    pub fn heard(&self) {
        // Most of what is read belongs to something that has been noted already, and needs no lock.
        if self.rests.swap(false, Ordering::Relaxed) {
            self.seats.lock().asks(self.id, self.seats.now());
        }
    }

    /// Nobody else gets this place until it [`Self::rests`]. False if somebody has it already.
    #[must_use]
    pub fn serve(&self) -> bool {
        self.seats.lock().is_served(self.id)
    }

    /// Serves one call of several that the connection may carry at once. None if somebody else has the place already.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Call> {
        // Held until the table knows: the end of another call must not come in between, and have this one rest.
        let mut calls = self.calls();
        self.serve().then(|| {
            *calls += 1;
            Call(Arc::clone(self))
        })
    }

    fn calls(&self) -> MutexGuard<'_, usize> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is to be done any more.
    pub fn rests(&self) {
        self.seats.lock().rests(self.id, self.seats.now());
        self.rests.store(true, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        table.leave(self.id);
        self.seats.count(&table);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        *calls -= 1;
        if *calls == 0 {
            self.0.rests();
        }
    }
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Source => "source",
        Reason::Total => "total",
        Reason::Overdue => "overdue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_as_long_as_one_of_its_calls_is_under_way() {
        let long = Duration::from_secs(3600);
        let seats = Seats::new("test", Limits { total: 1, per_source: 1, asking: long, idle: long });
        let from = SocketAddr::from(([10, 0, 0, 1], 1));
        let (seat, mut taken) = seats.take(from).unwrap();
        let seat = Arc::new(seat);
        let (stream, module) = (seat.begin().unwrap(), seat.begin().unwrap());
        assert!(seats.take(from).is_none());
        drop(stream);
        assert!(seats.take(from).is_none(), "the module is still on its way");
        drop(module);
        let again = seat.begin().unwrap();
        assert!(seats.take(from).is_none(), "the next stream of the same connection");
        drop(again);
        assert!(taken.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let next = seats.take(from);
        assert!(next.is_some(), "nothing is under way");
        assert!(taken.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(seat.begin().is_none(), "somebody else has it");
    }
}
