//! Whose an address is: the Services that have an endpoint there.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use crate::{name::ServiceName, name_map::Difference, service::Service};

/// How many Services are told of one address. A pod is behind two or three.
pub const MAX_OWNERS: usize = 8;

/// The Services behind every address of an endpoint, ready or not: the reverse of a snapshot, kept up by what changes.
#[derive(Debug, Default)]
pub struct Owners {
    services: HashMap<SocketAddr, Vec<ServiceName>>,
}

impl Owners {
    /// Takes over what differs between the snapshot that it was last told of, none at first, and the next one.
    pub fn follow<'a>(&mut self, differences: impl IntoIterator<Item = Difference<'a, Arc<Service>>>) {
        for (name, before, now) in differences {
            let version = |service: Option<&Arc<Service>>| service.map(|service| service.endpoints.version());
            if version(before) == version(now) {
                continue;
            }
            let (before, now) = (addresses(before), addresses(now));
            before.difference(&now).for_each(|address| self.remove(*address, name));
            now.difference(&before).for_each(|address| self.add(*address, name));
        }
    }

    /// The Services that have an endpoint at this address, by name and at most [`MAX_OWNERS`].
    ///
    /// The endpoints of a headless Service without ports have none either: they are the pod, whatever port is dialled.
    pub fn of(&self, address: SocketAddr) -> Vec<ServiceName> {
        let places = [address, SocketAddr::new(address.ip(), 0)];
        let services: BTreeSet<&ServiceName> =
            places.iter().filter_map(|place| self.services.get(place)).flatten().collect();
        services.into_iter().take(MAX_OWNERS).cloned().collect()
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    fn add(&mut self, address: SocketAddr, name: &ServiceName) {
        // Nearly every address has one owner, and there are as many as endpoints: about 90 bytes each.
        self.services.entry(address).or_insert_with(|| Vec::with_capacity(1)).push(name.clone());
    }

    fn remove(&mut self, address: SocketAddr, name: &ServiceName) {
        let Some(services) = self.services.get_mut(&address) else { return };
        services.retain(|service| service != name);
        if services.is_empty() {
            self.services.remove(&address);
        }
    }
}

/// Each of them once: two ports of a Service may lead to the same place.
fn addresses(service: Option<&Arc<Service>>) -> BTreeSet<SocketAddr> {
    service.into_iter().flat_map(|service| service.endpoints.iter()).map(|endpoint| endpoint.address).collect()
}
