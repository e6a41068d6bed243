//! What sidecars are promised of a node, and how much of it they may use.
//!
//! Where nothing else is said these are small promises and generous limits: a proxy that stands idle costs next to nothing, and
//! none is held back in its CPU. A pod that Kubernetes calls Guaranteed stays so, because losing that is felt: its cores, and
//! its place among those that are killed last.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value, json};

use crate::{
    names::{CAPTURE_CONTAINER, PROXY_CONTAINER, RESOURCE_ANNOTATION_PREFIX},
    pod::Pod,
    quantity::Quantity,
};

/// No process starts with less memory. Most who write less mean something else: `256m` is a quarter of a byte.
const LEAST_MEMORY_MILLI: u128 = 1024 * 1024 * 1000;

/// What part of its pod's CPU the proxy of a Guaranteed pod has, where nobody says how much: it grows with what the pod can do.
const PROXY_SHARE: u128 = 10;
/// The least that it has: with less, one large response would hold up all others for a tenth of a second.
const PROXY_LEAST: u128 = 100;
/// And no more: a pod of nearly a node's cores would else find no node.
const PROXY_MOST: u128 = 2000;
/// What installs rules has little to do, but the application waits for it.
const CAPTURE_LEAST: u128 = 50;

/// What both sidecars ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Of `wasmesh-proxy`.
    pub proxy: Budget,
    /// Of `wasmesh-capture`.
    pub capture: Budget,
}

/// What a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Cores.
    pub cpu: Bounds,
    /// Bytes.
    pub memory: Bounds,
}

/// How much of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// So much is kept for it.
    pub request: Quantity,
    /// So much it may have. Never less than the request.
    pub limit: Option<Quantity>,
}

/// One thing to be different: `proxy-cpu-limit=500m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceWish {
    /// What it is for.
    pub name: ResourceName,
    /// How much.
    pub quantity: Quantity,
}

/// What can be wished for. As a text it is `proxy-cpu-limit`, which is how annotations end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceName {
    /// Whose.
    pub sidecar: Sidecar,
    /// Of what.
    pub resource: Resource,
    /// What of it.
    pub bound: Bound,
}

/// A container of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sidecar {
    /// `wasmesh-proxy`.
    Proxy,
    /// `wasmesh-capture`.
    Capture,
}

/// What a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Cores.
    Cpu,
    /// Bytes.
    Memory,
}

/// What Kubernetes is told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// What is kept for a container.
    Request,
    /// What it may have.
    Limit,
}

impl Sidecar {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Proxy, Self::Capture];

    /// The name of the container.
    #[must_use]
    pub fn container(self) -> &'static str {
        match self {
            Self::Proxy => PROXY_CONTAINER,
            Self::Capture => CAPTURE_CONTAINER,
        }
    }
}

impl Resource {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// As Kubernetes names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

impl ResourceName {
    /// All that can be wished for.
    pub fn all() -> impl Iterator<Item = Self> {
        Sidecar::ALL.into_iter().flat_map(|sidecar| {
            Resource::ALL
                .into_iter()
                .flat_map(move |resource| [Bound::Request, Bound::Limit].map(|bound| Self { sidecar, resource, bound }))
        })
    }

    /// The annotation of a pod that wishes for it.
    #[must_use]
    pub fn annotation(self) -> String {
        format!("{RESOURCE_ANNOTATION_PREFIX}{self}")
    }

    /// A wish, if it can be fulfilled.
    fn wish(self, quantity: &str) -> Result<ResourceWish, String> {
        let quantity: Quantity = quantity.parse()?;
        match self.resource {
            Resource::Cpu if quantity.milli() == 0 => {
                Err("no CPU at all is not enough: write 100m or the like".to_owned())
            }
            Resource::Memory if quantity.milli() < LEAST_MEMORY_MILLI => {
                Err(format!("{quantity} is less memory than any process needs: write 64Mi or the like"))
            }
            _ => Ok(ResourceWish { name: self, quantity }),
        }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sidecar = match self.sidecar {
            Sidecar::Proxy => "proxy",
            Sidecar::Capture => "capture",
        };
        let bound = match self.bound {
            Bound::Request => "request",
            Bound::Limit => "limit",
        };
        write!(f, "{sidecar}-{}-{bound}", self.resource.name())
    }
}

impl FromStr for ResourceWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, quantity) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=QUANTITY"))?;
        let known = ResourceName::all().find(|known| known.to_string() == name.trim());
        let known = known.ok_or_else(|| {
            let all: Vec<_> = ResourceName::all().map(|name| name.to_string()).collect();
            format!("there is no {name:?}, but {}", all.join(", "))
        })?;
        known.wish(quantity.trim()).map_err(|why| format!("{known}: {why}"))
    }
}

impl fmt::Display for ResourceWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.quantity)
    }
}

impl Default for Resources {
    fn default() -> Self {
        let budget = |cpu, request: u64, limit: u64| Budget {
            cpu: Bounds { request: Quantity::of_milli(cpu), limit: None },
            memory: Bounds { request: Quantity::of_bytes(request << 20), limit: Some(Quantity::of_bytes(limit << 20)) },
        };
        Self { proxy: budget(10, 32, 256), capture: budget(1, 8, 64) }
    }
}

/// From `proxy-cpu-limit=500m,capture-memory-limit=32Mi`; what is not named is as ever, what is named twice is as it is named last.
impl FromStr for Resources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let wishes: Vec<ResourceWish> = items.map(str::parse).collect::<Result<_, _>>()?;
        let mut resources = Self::default();
        match resources.apply(&wishes).into_iter().next() {
            Some(why) => Err(why),
            None => Ok(resources),
        }
    }
}

impl Resources {
    /// Those of one container.
    #[must_use]
    pub fn of(&self, sidecar: Sidecar) -> &Budget {
        match sidecar {
            Sidecar::Proxy => &self.proxy,
            Sidecar::Capture => &self.capture,
        }
    }

    /// Fulfils wishes, and says which it cannot. A limit that is wished for takes the request down with it, and a request takes the
    /// limit up.
    pub fn apply(&mut self, wishes: &[ResourceWish]) -> Vec<String> {
        let mut refused = Vec::new();
        for sidecar in Sidecar::ALL {
            for resource in Resource::ALL {
                let wish = |bound| {
                    let name = ResourceName { sidecar, resource, bound };
                    wishes.iter().rev().find(|wish| wish.name == name)
                };
                let (request, limit) = (wish(Bound::Request), wish(Bound::Limit));
                match (request, limit) {
                    (Some(request), Some(limit)) if request.quantity.milli() > limit.quantity.milli() => {
                        refused.push(format!("{request} is more than {limit}, so both are ignored"));
                    }
                    _ => self
                        .bounds(sidecar, resource)
                        .move_to(request.map(|wish| &wish.quantity), limit.map(|wish| &wish.quantity)),
                }
            }
        }
        refused
    }

    fn bounds(&mut self, sidecar: Sidecar, resource: Resource) -> &mut Bounds {
        let budget = match sidecar {
            Sidecar::Proxy => &mut self.proxy,
            Sidecar::Capture => &mut self.capture,
        };
        match resource {
            Resource::Cpu => &mut budget.cpu,
            Resource::Memory => &mut budget.memory,
        }
    }

    /// Promises all that may be used, in a pod whose own containers have so much CPU. Who has said how much is promised is not
    /// given more.
    fn guarantee(&mut self, cpu_milli: u128, wishes: &[ResourceWish]) {
        for (sidecar, enough) in [
            (Sidecar::Proxy, (cpu_milli / PROXY_SHARE).clamp(PROXY_LEAST, PROXY_MOST)),
            (Sidecar::Capture, CAPTURE_LEAST),
        ] {
            let name = ResourceName { sidecar, resource: Resource::Cpu, bound: Bound::Request };
            let is_said = wishes.iter().any(|wish| wish.name == name);
            self.bounds(sidecar, Resource::Cpu).guarantee(if is_said { 0 } else { enough });
            self.bounds(sidecar, Resource::Memory).guarantee(0);
        }
    }
}

impl Bounds {
    fn move_to(&mut self, request: Option<&Quantity>, limit: Option<&Quantity>) {
        if let Some(limit) = limit {
            if self.request.milli() > limit.milli() {
                self.request = limit.clone();
            }
            self.limit = Some(limit.clone());
        }
        if let Some(request) = request {
            if self.limit.as_ref().is_some_and(|limit| limit.milli() < request.milli()) {
                self.limit = Some(request.clone());
            }
            self.request = request.clone();
        }
    }

    fn guarantee(&mut self, least_milli: u128) {
        let enough =
            if self.request.milli() < least_milli { Quantity::of_milli(least_milli) } else { self.request.clone() };
        self.request = self.limit.get_or_insert(enough).clone();
    }
}

impl Budget {
    /// How much of a resource.
    #[must_use]
    pub fn bounds(&self, resource: Resource) -> &Bounds {
        match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        }
    }

    /// As a container has it.
    pub(crate) fn to_value(&self) -> Value {
        let mut requests = Map::new();
        let mut limits = Map::new();
        for resource in Resource::ALL {
            let Bounds { request, limit } = self.bounds(resource);
            requests.insert(resource.name().to_owned(), request.to_string().into());
            if let Some(limit) = limit {
                limits.insert(resource.name().to_owned(), limit.to_string().into());
            }
        }
        json!({ "requests": requests, "limits": limits })
    }
}

/// What the sidecars of a pod ask for, by what the installation gives and the pod wishes; nothing where the pod as a whole has
/// requests or limits: then Kubernetes refuses containers that ask for more than these, and needs no numbers of ours.
pub(crate) fn of_pod(pod: &Pod<'_>, installed: &Resources, warnings: &mut Vec<String>) -> Option<Resources> {
    let wishes = wishes(pod, warnings);
    if has_budget(pod) {
        if let Some(wish) = wishes.first() {
            let annotation = wish.name.annotation();
            warnings
                .push(format!("annotation {annotation}: it is ignored, as the pod's own resources are for all of it"));
        }
        return None;
    }
    let mut resources = installed.clone();
    warnings.extend(
        resources.apply(&wishes).into_iter().map(|why| format!("annotations {RESOURCE_ANNOTATION_PREFIX}…: {why}")),
    );
    if let Some(cpu) = guaranteed_cpu(pod) {
        resources.guarantee(cpu, &wishes);
    }
    Some(resources)
}

fn wishes(pod: &Pod<'_>, warnings: &mut Vec<String>) -> Vec<ResourceWish> {
    let mut wishes = Vec::new();
    for name in ResourceName::all() {
        let annotation = name.annotation();
        match pod.annotation(&annotation).map(|text| name.wish(text.trim())) {
            Some(Ok(wish)) => wishes.push(wish),
            Some(Err(why)) => warnings.push(format!("annotation {annotation}: it is ignored: {why}")),
            None => {}
        }
    }
    wishes
}

fn has_budget(pod: &Pod<'_>) -> bool {
    pod.value.pointer("/spec/resources").and_then(Value::as_object).is_some_and(|resources| !resources.is_empty())
}

/// The CPU that a Guaranteed pod's containers have together, in thousandths of a core; `None` for any other pod.
fn guaranteed_cpu(pod: &Pod<'_>) -> Option<u128> {
    let is_whole = |container| Resource::ALL.into_iter().all(|resource| guaranteed(container, resource).is_some());
    // Init containers are over when the others work, or have little to do beside them.
    let cpus = pod.list("/spec/containers").filter_map(|container| guaranteed(container, Resource::Cpu));
    pod.containers().all(is_whole).then(|| cpus.sum())
}

/// What a container is promised of a resource, if that is all that it may use.
fn guaranteed(container: &Value, resource: Resource) -> Option<u128> {
    let amount = |bound: &str| {
        let value = container.get("resources")?.get(bound)?.get(resource.name())?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.parse::<Quantity>().ok().map(|quantity| quantity.milli())
    };
    let limit = amount("limits").filter(|limit| *limit > 0)?;
    // Kubernetes takes a missing request for the limit.
    (amount("requests").unwrap_or(limit) == limit).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(resources: &Resources) -> String {
        let of = |sidecar| {
            let Budget { cpu, memory } = resources.of(sidecar);
            let shown = |bounds: &Bounds| {
                let limit = bounds.limit.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                format!("{}..{limit}", bounds.request)
            };
            format!("{} {}", shown(cpu), shown(memory))
        };
        format!("{} | {}", of(Sidecar::Proxy), of(Sidecar::Capture))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse().as_ref().map(shown), Ok(expected.to_owned()), "{text:?}");
    }

    #[test]
    fn a_wish_moves_the_other_end_if_it_must() {
        check("", "10m..- 32Mi..256Mi | 1m..- 8Mi..64Mi");
        check("proxy-cpu-request=1", "1..- 32Mi..256Mi | 1m..- 8Mi..64Mi");
        check("proxy-cpu-limit=5m", "5m..5m 32Mi..256Mi | 1m..- 8Mi..64Mi");
        check("proxy-memory-limit=16Mi", "10m..- 16Mi..16Mi | 1m..- 8Mi..64Mi");
        check("proxy-memory-request=1Gi", "10m..- 1Gi..1Gi | 1m..- 8Mi..64Mi");
        check("capture-memory-request=64Mi, capture-cpu-limit=1,", "10m..- 32Mi..256Mi | 1m..1 64Mi..64Mi");
        check("proxy-cpu-limit=1,proxy-cpu-limit=2", "10m..2 32Mi..256Mi | 1m..- 8Mi..64Mi");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, named) in [
            ("proxy-cpu-limit", "NAME=QUANTITY"),
            ("proxy-disk-limit=1Gi", "capture-memory-limit"),
            ("proxy-cpu-limit=0", "proxy-cpu-limit: no CPU"),
            ("proxy-cpu-limit=much", "\"much\" is no quantity"),
            ("proxy-memory-limit=256m", "less memory"),
            ("proxy-cpu-request=2,proxy-cpu-limit=1", "proxy-cpu-request=2 is more than proxy-cpu-limit=1"),
        ] {
            let why = text.parse::<Resources>().unwrap_err();
            assert!(why.contains(named), "{why}");
        }
    }
}
