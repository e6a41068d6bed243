//! From a destination to what to do with it, in the world as it is now.

use std::{net::SocketAddr, rc::Rc};

use tokio::time::{Instant, timeout_at};
use wasmesh_core::{
    route::{MeshRoute, Refusal, Route, route_address, route_name},
    service::Family,
};

use super::{Cell, Worker};
use crate::{destination::Destination, events, world::Subscribe};

/// What to do.
pub enum Routed {
    /// Choose an endpoint of this cell.
    Mesh(Rc<Cell>),
    /// Go where the client wants to go.
    Passthrough(Destination),
    /// Say no.
    Refused(Refusal),
    /// The Service is known, but its endpoints have not come and there is no address to pass the client on to.
    NotYet,
}

impl Worker {
    /// Routes a destination. Waits only when a Service is used for the first time, and then briefly.
    pub(crate) async fn route(&self, destination: &Destination) -> Routed {
        match self.decide(destination) {
            Route::Mesh(route) => match self.cell(&route) {
                Some(cell) => Routed::Mesh(cell),
                None => self.first_use(destination, &route).await,
            },
            Route::Passthrough => Routed::Passthrough(destination.clone()),
            Route::Refuse(refusal) => Routed::Refused(refusal),
            Route::Alias(target) => Routed::Passthrough(alias(destination, target)),
        }
    }

    /// The cell to use in place of one in which nothing is left to choose, if the world has moved on since it was chosen.
    pub(crate) async fn successor(&self, destination: &Destination, cell: &Rc<Cell>) -> Option<Rc<Cell>> {
        match self.route(destination).await {
            Routed::Mesh(now) if !Rc::ptr_eq(&now, cell) => Some(now),
            Routed::Mesh(_) | Routed::Passthrough(_) | Routed::Refused(_) | Routed::NotYet => None,
        }
    }

    fn decide(&self, destination: &Destination) -> Route {
        let world = self.world();
        match destination {
            Destination::Address(address) => route_address(&world.table, *address, &self.config.own_listeners),
            Destination::Name(host, port) => {
                route_name(&world.table, host, *port, &self.config.namespace, &self.config.cluster_domain)
            }
        }
    }

    /// Asks for the Service's endpoints and waits for them, whether the stream is open, silent or gone.
    async fn first_use(&self, destination: &Destination, route: &MeshRoute) -> Routed {
        let until = Instant::now() + self.config.first_use_wait;
        // Looked at before asking: an answer that comes in between is then still news.
        let mut worlds = self.config.worlds.clone();
        worlds.mark_unchanged();
        let asked = self.config.wanted.send(Subscribe(route.entry.spec.name.clone()));
        while asked.is_ok() {
            // Routed anew each time: the Service itself may have changed meanwhile.
            match self.decide(destination) {
                Route::Mesh(route) => {
                    if let Some(cell) = self.cell(&route) {
                        return Routed::Mesh(cell);
                    }
                }
                Route::Refuse(refusal) => return Routed::Refused(refusal),
                Route::Passthrough | Route::Alias(_) => break,
            }
            if !matches!(timeout_at(until, worlds.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        events::endpoints_not_in_time(&route.entry.spec.name);
        match (destination, unbalanced_address(route)) {
            (Destination::Address(_), _) => Routed::Passthrough(destination.clone()),
            (Destination::Name(..), Some(address)) => Routed::Passthrough(Destination::Address(address)),
            (Destination::Name(..), None) => Routed::NotYet,
        }
    }
}

/// The Service's own virtual address, where kube-proxy balances if there is one.
fn unbalanced_address(route: &MeshRoute) -> Option<SocketAddr> {
    let spec = &route.entry.spec;
    let port = spec.ports.get(route.port)?.port;
    let vip = spec.vips().iter().find(|vip| Family::of(**vip) == route.family)?;
    Some(SocketAddr::new(*vip, port))
}

fn alias(destination: &Destination, target: String) -> Destination {
    match destination {
        Destination::Name(_, port) => Destination::Name(target, *port),
        // Addresses have no aliases.
        Destination::Address(_) => destination.clone(),
    }
}
