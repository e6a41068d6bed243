//! The directory: every Service a proxy knows, found by virtual address or by name.

use std::{
    collections::{HashMap, hash_map},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    candidates::Reach,
    name::ServiceName,
    service::ServiceSpec,
    version::{Canonical, CanonicalWriter, Version},
};

/// What a proxy knows of every Service, whether or not it uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the Service declares.
    pub spec: Arc<ServiceSpec>,
    /// What this proxy can reach of it.
    pub reach: Reach,
}

impl Entry {
    /// The version of an entry, from the version of its declaration.
    pub fn version(spec: Version, reach: &Reach) -> Version {
        let mut writer = CanonicalWriter::default();
        writer.number(spec.0);
        writer.sequence(reach.ports(), |w, port| w.number(u8::from(port.v4) | u8::from(port.v6) << 1));
        Version(writer.finish())
    }
}

impl Canonical for Entry {
    fn write(&self, writer: &mut CanonicalWriter) {
        writer.number(Self::version(Version::of(&*self.spec), &self.reach).0);
    }
}

/// Virtual addresses and to whom they belong.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    vips: HashMap<IpAddr, Arc<Entry>>,
}

impl Directory {
    /// The Service behind a virtual address.
    pub fn by_vip(&self, vip: IpAddr) -> Option<&Arc<Entry>> {
        self.vips.get(&vip)
    }

    /// The first of an entry's virtual addresses that belongs to another Service, and that Service.
    pub fn conflict(&self, entry: &Entry) -> Option<(IpAddr, &ServiceName)> {
        let vips = entry.spec.vips().iter();
        vips.filter_map(|vip| Some((*vip, &self.vips.get(vip)?.spec.name)))
            .find(|(_, owner)| **owner != entry.spec.name)
    }

    /// Gives an entry those of its addresses that nobody else has.
    pub fn claim(&mut self, entry: &Arc<Entry>) {
        for vip in entry.spec.vips() {
            match self.vips.entry(*vip) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(Arc::clone(entry));
                }
                hash_map::Entry::Occupied(mut occupied) if occupied.get().spec.name == entry.spec.name => {
                    occupied.insert(Arc::clone(entry));
                }
                hash_map::Entry::Occupied(_) => {}
            }
        }
    }

    /// Takes back the addresses that belong to this entry's Service.
    pub fn release(&mut self, entry: &Entry) {
        for vip in entry.spec.vips() {
            if self.vips.get(vip).is_some_and(|owner| owner.spec.name == entry.spec.name) {
                self.vips.remove(vip);
            }
        }
    }
}
