//! The API server of a cluster as a source.
//!
//! [`scope`] says what is watched; a watch turns what the API server says into events (`watch`, `read`); `cluster` keeps what
//! is known and finds what changed and what else is to be watched because of it, without I/O.

mod cluster;
mod demand;
pub mod event;
mod known;
mod read;
pub mod scope;
mod watch;

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use kube::Client;
use tokio::sync::mpsc;
use tokio_stream::StreamMap;

use self::{cluster::Cluster, event::Event, scope::Scope};
use crate::{events, source::SourceUpdate};

/// How many events that are there already become one update.
const BATCH: usize = 1024;

/// Follows the objects of a cluster until nobody listens any more.
///
/// The first update comes when Services and EndpointSlices have been read, however long that takes; what else cannot be read
/// is a problem in the updates and keeps nothing from being served.
pub async fn run(client: Client, updates: mpsc::Sender<SourceUpdate>) {
    let mut cluster = Cluster::new();
    let mut watches: StreamMap<Scope, BoxStream<'static, Event>> = StreamMap::new();
    for scope in Scope::FIXED {
        watches.insert(scope.clone(), watch::events(client.clone(), &scope));
    }
    loop {
        tokio::select! {
            next = watches.next() => match next {
                Some((scope, event)) => take(&mut cluster, &scope, event),
                None => return,
            },
            () = updates.closed() => return,
        }
        let mut left = BATCH;
        while left > 0
            && let Some(Some((scope, event))) = watches.next().now_or_never()
        {
            take(&mut cluster, &scope, event);
            left -= 1;
        }
        let wanted = cluster.watches();
        for scope in &wanted.end {
            watches.remove(scope);
        }
        for scope in wanted.begin {
            let events = watch::events(client.clone(), &scope);
            watches.insert(scope, events);
        }
        if let Some(update) = cluster.update()
            && updates.send(update).await.is_err()
        {
            return;
        }
    }
}

fn take(cluster: &mut Cluster, scope: &Scope, event: Event) {
    if let Event::Failed { reason, .. } = &event {
        events::watch_failed(scope, reason, cluster.is_ready());
    }
    cluster.take(scope, event);
}
