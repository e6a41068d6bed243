//! Asks whose pods passed-through connections reach, and counts them.

use std::{net::SocketAddr, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use wasmesh_core::name::ServiceName;

use super::{
    PodConnections, Sightings,
    book::{Book, Counted},
    sightings::Seen,
};
use crate::{clock::now_us, events, world::Worlds};

/// Connections of this long are looked at together; nothing is asked more often.
const GATHER: Duration = Duration::from_millis(500);

/// Addresses, each with the Services that have an endpoint there.
pub type Told = Vec<(SocketAddr, Vec<ServiceName>)>;

/// Counts passed-through connections for the Services whose pods they reach.
pub struct Attribution {
    /// Where the connections went.
    pub sightings: Sightings,
    /// The Services that there are.
    pub worlds: Worlds,
    /// What discovery is to ask. While it has no stream, what does not fit is not asked.
    pub questions: mpsc::Sender<Vec<SocketAddr>>,
    /// What it was told.
    pub answers: mpsc::Receiver<Told>,
    /// Shown on the admin page.
    pub counts: PodConnections,
}

impl Attribution {
    /// Runs for ever. Without passed-through connections it sleeps.
    pub async fn run(mut self) {
        let mut book = Book::default();
        loop {
            if !book.is_waiting() {
                self.sightings.come().await;
            }
            sleep(GATHER).await;
            while let Ok(told) = self.answers.try_recv() {
                self.count(book.answer(told, now_us()));
            }
            self.count(book.give_up(now_us()));
            let Seen { connections, elsewhere } = self.sightings.take();
            let table = self.worlds.borrow().table.clone();
            // A virtual address is nobody's pod: balanced by whoever balances without us.
            let is_foreign = |address: &SocketAddr| table.directory().by_vip(address.ip()).is_none();
            let seen = connections.into_iter().filter(|(address, _)| is_foreign(address));
            let counted = book.see(seen, now_us());
            self.count(Counted { unknown: counted.unknown + elsewhere, ..counted });
            if let Some(question) = book.question(now_us()) {
                let _ = self.questions.try_send(question);
            }
        }
    }

    fn count(&self, counted: Counted) {
        let Counted { services, mut unknown } = counted;
        let table = self.worlds.borrow().table.clone();
        for (service, connections) in services {
            match table.get(&service) {
                Some(held) => {
                    let has_vip = !held.entry.value.spec.vips().is_empty();
                    let is_news = self.counts.add(&service, connections);
                    events::pod_connections(&service, has_vip, connections, is_news);
                }
                // Come or gone within a moment.
                None => unknown += connections,
            }
        }
        self.counts.retain(|service| table.get(service).is_some());
        events::pod_connections_unknown(unknown);
    }
}
