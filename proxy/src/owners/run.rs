//! Asks whose pods passed-through connections reach, and counts them.

use std::{net::SocketAddr, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use wasmesh_core::name::ServiceName;

use super::{
    PodConnections, Sightings, Way,
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
            // A question that cannot be put is not begun: what is asked for counts as asked.
            if let Ok(permit) = self.questions.try_reserve()
                && let Some(question) = book.question(now_us())
            {
                permit.send(question);
            }
        }
    }

    fn count(&self, counted: Counted) {
        let Counted { owners, mut unknown } = counted;
        let table = self.worlds.borrow().table.clone();
        for (owners, connections) in owners {
            let has_vip = |owner: &ServiceName| Some(!table.get(owner)?.entry.value.spec.vips().is_empty());
            let known: Vec<_> = owners.iter().filter_map(|owner| Some((owner, has_vip(owner)?))).collect();
            if known.is_empty() {
                // Come or gone within a moment.
                unknown += connections;
            }
            let is_headless_too = known.iter().any(|(_, has_vip)| !has_vip);
            for (service, has_vip) in known {
                let way = match (has_vip, is_headless_too) {
                    (true, false) => Way::ClusterIp,
                    (true, true) => Way::Either,
                    (false, _) => Way::Headless,
                };
                let is_news = self.counts.add(service, way, connections);
                events::pod_connections(service, way, connections, is_news);
            }
        }
        self.counts.retain(|service| table.get(service).is_some());
        events::pod_connections_unknown(unknown);
    }
}
