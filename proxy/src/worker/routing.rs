//! From a destination to what to do with it, in the world as it is now.

use std::{net::SocketAddr, rc::Rc};

use tokio::time::{Instant, timeout_at};
use wasmesh_core::{
    name::ServiceName,
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
            Route::Alias(target) => self.follow_alias(alias(destination, target)).await,
        }
    }

    /// An alias may stand for another Service. One step only: a chain of aliases is for DNS, and could be a circle.
    async fn follow_alias(&self, target: Destination) -> Routed {
        match self.decide(&target) {
            Route::Mesh(route) => match self.cell(&route) {
                Some(cell) => Routed::Mesh(cell),
                None => self.first_use(&target, &route).await,
            },
            Route::Refuse(refusal) => Routed::Refused(refusal),
            Route::Passthrough | Route::Alias(_) => Routed::Passthrough(target),
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

    /// Asks for the Service's endpoints and waits for them, whether the stream is open, silent or gone. Once they have not
    /// come in time, nobody waits again before anything has changed.
    async fn first_use(&self, destination: &Destination, route: &MeshRoute) -> Routed {
        let name = &route.entry.spec.name;
        if !self.late.borrow().is_late(name, self.world().generation) {
            if let Some(routed) = self.await_endpoints(destination, name).await {
                return routed;
            }
            events::endpoints_not_in_time(name);
            self.late.borrow_mut().note(name, self.world().generation);
        }
        match (destination, unbalanced_address(route)) {
            (Destination::Address(_), _) => Routed::Passthrough(destination.clone()),
            (Destination::Name(..), Some(address)) => Routed::Passthrough(Destination::Address(address)),
            (Destination::Name(..), None) => Routed::NotYet,
        }
    }

    async fn await_endpoints(&self, destination: &Destination, name: &ServiceName) -> Option<Routed> {
        let until = Instant::now() + self.config.first_use_wait;
        // Looked at before asking: an answer that comes in between is then still news.
        let mut worlds = self.config.worlds.clone();
        worlds.mark_unchanged();
        // A queue that is full is being worked on, and the next use asks again.
        let _ = self.config.wanted.try_send(Subscribe(name.clone()));
        loop {
            // Routed anew each time: the Service itself may have changed meanwhile.
            match self.decide(destination) {
                Route::Mesh(route) => {
                    if let Some(cell) = self.cell(&route) {
                        return Some(Routed::Mesh(cell));
                    }
                }
                Route::Refuse(refusal) => return Some(Routed::Refused(refusal)),
                Route::Passthrough | Route::Alias(_) => return None,
            }
            if !matches!(timeout_at(until, worlds.changed()).await, Ok(Ok(()))) {
                return None;
            }
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
