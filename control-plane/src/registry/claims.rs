//! Who may have which virtual address, when several Services ask for it.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use wasmesh_core::name::ServiceName;

/// A Service that asks for addresses. The least claim wins: the oldest, then the first by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    /// Whoever cannot show an age is taken for the youngest.
    is_undated: bool,
    created: Option<Time>,
    name: ServiceName,
}

/// The claims to each address.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_vip: HashMap<IpAddr, BTreeSet<Claim>>,
}

impl Claim {
    pub(super) fn new(name: ServiceName, created: Option<Time>) -> Self {
        Self { is_undated: created.is_none(), created, name }
    }
}

impl Claims {
    /// Gives up what was claimed before and claims what is claimed now.
    pub(super) fn replace(&mut self, old: &[IpAddr], before: Option<&Claim>, new: &[IpAddr], now: Option<&Claim>) {
        for vip in old {
            if let (Some(claims), Some(before)) = (self.by_vip.get_mut(vip), before) {
                claims.remove(before);
                if claims.is_empty() {
                    self.by_vip.remove(vip);
                }
            }
        }
        for vip in new {
            self.by_vip.entry(*vip).or_default().extend(now.cloned());
        }
    }

    /// Everyone who asks for an address.
    pub(super) fn claimants(&self, vip: IpAddr) -> impl Iterator<Item = &ServiceName> {
        self.by_vip.get(&vip).into_iter().flatten().map(|claim| &claim.name)
    }

    /// Those of these addresses that another Service has, and who that is.
    pub(super) fn lost<'a>(
        &'a self,
        name: &'a ServiceName,
        vips: &'a [IpAddr],
    ) -> impl Iterator<Item = (IpAddr, &'a ServiceName)> {
        let winners = vips.iter().filter_map(|vip| Some((*vip, self.claimants(*vip).next()?)));
        winners.filter(move |(_, winner)| *winner != name)
    }
}
