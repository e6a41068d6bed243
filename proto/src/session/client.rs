//! A proxy's end of its streams.
//!
//! The session outlives every single stream: it holds the table, which stays as it is while there is no stream, and
//! knows how to take up again where the last one ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use wasmesh_core::{
    checksum::HeldVersions,
    name::ServiceName,
    name_map::BUCKETS,
    table::{Held, Rejection, ServiceChange, Table, Update},
};

use super::{ELEMENT_BYTES, MAX_ADDRESSES, PART_BYTES, Part, Rejected};
use crate::{
    PROTOCOL,
    convert::{Malformed, address_from_wire, address_to_wire, held_to_wire, held_versions, item_from_wire},
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

/// How many bytes of items one update may have, in all its parts. The directory of 100,000 Services takes about 20 MiB.
const MAX_UPDATE_BYTES: usize = 256 * 1024 * 1024;

/// What a control plane has done wrong that begins with something else.
const NO_WELCOME: &str = "the first message must be a Welcome";

/// What a proxy knows and wants.
#[derive(Default)]
pub struct ClientSession {
    table: Table,
    subscriptions: BTreeSet<ServiceName>,
    rejected: BTreeMap<ServiceName, Rejected>,
    pending: Option<Pending>,
    welcomed: bool,
    /// Subscriptions that did not fit into the Hello or came before the Welcome; said after that.
    unsaid: Vec<ServiceName>,
}

/// The parts of an update that have come so far.
#[derive(Default)]
struct Pending {
    nonce: u64,
    /// What can be applied.
    changed: Vec<ServiceChange>,
    /// Of everything that has come, in any order: in one piece, which is given back as one.
    versions: Vec<(ServiceName, HeldVersions)>,
    /// What cannot be applied, and why. Its entry may be in `changed` nevertheless.
    unusable: BTreeMap<ServiceName, Unusable>,
    /// On what has no name.
    verdicts: Vec<wire::Verdict>,
    removed: Vec<String>,
    absent: Vec<String>,
    bytes: usize,
}

enum Unusable {
    Item(Malformed),
    /// Only the endpoints: whose address it is must change together with everyone else's, whatever these are like.
    Endpoints(Malformed),
}

/// What a message led to.
#[derive(Default)]
pub struct Reaction {
    /// An update has been applied: use its table, then send `replies`.
    pub applied: Option<Applied>,
    /// Messages to send, in this order.
    pub replies: Vec<wire::FromProxy>,
    /// The stream was accepted by this replica.
    pub welcomed_by: Option<String>,
    /// As whom the replica has accepted this proxy; `None` from one that does not say.
    pub welcomed_as: Option<wire::Node>,
    /// How many proxies balance over the endpoints of these Services, this one included: at least 1. What was said of others
    /// still holds, also over the end of the stream.
    pub peers: Vec<(ServiceName, u32)>,
    /// The Services that have endpoints at addresses that were asked for; none for an address that is nobody's.
    pub owners: Vec<(SocketAddr, Vec<ServiceName>)>,
}

/// An update that took effect.
pub struct Applied {
    /// The table as it is now.
    pub table: Table,
    /// Items that were left out.
    pub rejected: Vec<(ServiceName, Rejected)>,
    /// Subscribed Services that do not exist.
    pub absent: Vec<ServiceName>,
    /// The result is not what the control plane expects; a comparison is under way.
    pub diverged: bool,
}

/// Why a stream must be given up. The table stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Another revision of the protocol.
    #[error(
        "the control plane speaks protocol revision {0}, this proxy speaks {PROTOCOL}: update the older of the two"
    )]
    Protocol(u32),
    /// A message out of turn.
    #[error("{0}")]
    OutOfTurn(&'static str),
    /// A message that makes no sense.
    #[error("a message makes no sense: {0}")]
    Malformed(#[from] Malformed),
    /// An update without an end.
    #[error("an update of more than {} MiB", MAX_UPDATE_BYTES / 1024 / 1024)]
    TooLarge,
}

impl ClientSession {
    /// What is held now.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The Services whose endpoints are wanted.
    pub fn subscriptions(&self) -> &BTreeSet<ServiceName> {
        &self.subscriptions
    }

    /// What was rejected and why, until it is mended.
    pub fn rejected(&self) -> &BTreeMap<ServiceName, Rejected> {
        &self.rejected
    }

    /// Opens a new stream; whatever the last one left unfinished is dropped.
    pub fn hello(&mut self, node: wire::Node) -> wire::FromProxy {
        self.pending = None;
        self.welcomed = false;
        let held = (!self.table.is_empty()).then(|| self.checksums());
        let mut subscriptions = in_parts(self.subscriptions.iter().cloned(), size_of_name).into_iter();
        let said = subscriptions.next().unwrap_or_default();
        self.unsaid = subscriptions.flatten().collect();
        // What only did not fit may fit when it is sent anew.
        let final_ones = self.rejected.iter().filter(|(_, rejected)| !rejected.resend);
        let rejected = final_ones.map(|(name, rejected)| self.verdict(name, rejected));
        // What is not told will be sent, and rejected again.
        let rejected = in_parts(rejected, prost::Message::encoded_len).into_iter().next().unwrap_or_default();
        let subscriptions = said.iter().map(ToString::to_string).collect();
        let hello = wire::Hello { protocol: PROTOCOL, node: Some(node), held, subscriptions, rejected };
        from_proxy(FromProxy::Hello(hello))
    }

    /// Asks for a Service's endpoints. Returns what to send if there is a stream; otherwise the next one begins with it.
    pub fn subscribe(&mut self, name: &ServiceName) -> Option<wire::FromProxy> {
        if !self.subscriptions.insert(name.clone()) {
            return None;
        }
        if !self.welcomed {
            self.unsaid.push(name.clone());
            return None;
        }
        Some(subscribe_to(std::slice::from_ref(name)))
    }

    /// Whether a stream is open: the control plane has said Welcome.
    pub fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// Gives up and forgets the endpoints of some Services. Returns what to send, if anything changed. Of very many names
    /// only as many are given up as fit into a message.
    ///
    /// Not to be called while there is no stream: what is forgotten then cannot be had back.
    pub fn unsubscribe(&mut self, names: &[ServiceName]) -> Option<wire::FromProxy> {
        let subscribed = names.iter().filter(|name| self.subscriptions.contains(*name));
        let gone = in_parts(subscribed, |name| size_of_name(name)).into_iter().next()?;
        for name in &gone {
            self.subscriptions.remove(*name);
        }
        self.table = self.table.without_endpoints(gone.iter().copied());
        let remove = gone.iter().map(ToString::to_string).collect();
        Some(from_proxy(FromProxy::Subscribe(wire::Subscribe { add: Vec::new(), remove })))
    }

    /// Takes a message from the control plane.
    ///
    /// # Errors
    /// When the stream must be given up; the table stays as it is.
    pub fn on_message(&mut self, message: wire::ToProxy) -> Result<Reaction, ClientError> {
        let Some(message) = message.message else {
            // A control plane that is newer has more to say. To give its stream up would only make it say the same again.
            return if self.welcomed { Ok(Reaction::default()) } else { Err(ClientError::OutOfTurn(NO_WELCOME)) };
        };
        match message {
            ToProxy::Welcome(welcome) if !self.welcomed => {
                if welcome.protocol != PROTOCOL {
                    return Err(ClientError::Protocol(welcome.protocol));
                }
                self.welcomed = true;
                let unsaid = std::mem::take(&mut self.unsaid);
                let replies = in_parts(unsaid, size_of_name).iter().map(|part| subscribe_to(part)).collect();
                let (welcomed_by, welcomed_as) = (Some(welcome.control_plane), welcome.node);
                Ok(Reaction { welcomed_by, welcomed_as, replies, ..Reaction::default() })
            }
            ToProxy::Welcome(_) => Err(ClientError::OutOfTurn("a second Welcome")),
            _ if !self.welcomed => Err(ClientError::OutOfTurn(NO_WELCOME)),
            ToProxy::Update(update) => self.on_part(update),
            ToProxy::ChecksumsRequest(_) => Ok(reply(FromProxy::Checksums(self.checksums()))),
            ToProxy::InventoryRequest(request) => self.on_inventory_request(&request),
            ToProxy::Peers(peers) => Ok(Reaction { peers: peers_from_wire(&peers), ..Reaction::default() }),
            ToProxy::Owners(owners) => Ok(Reaction { owners: owners_from_wire(&owners), ..Reaction::default() }),
        }
    }

    fn on_part(&mut self, part: wire::Update) -> Result<Reaction, ClientError> {
        let pending = self.pending.get_or_insert_with(|| Pending { nonce: part.nonce, ..Pending::default() });
        if pending.nonce != part.nonce {
            return Err(ClientError::OutOfTurn("a part of another update before the last one was complete"));
        }
        pending.bytes += part.items.iter().map(|item| item.body.len() + item.name.len()).sum::<usize>();
        pending.bytes += part.removed.iter().chain(&part.absent).map(String::len).sum::<usize>();
        if pending.bytes > MAX_UPDATE_BYTES {
            return Err(ClientError::TooLarge);
        }
        part.items.into_iter().for_each(|item| pending.take(item));
        pending.removed.extend(part.removed);
        pending.absent.extend(part.absent);
        if part.more {
            return Ok(Reaction::default());
        }
        match self.pending.take() {
            Some(whole) => Ok(self.apply(whole, part.checksum)),
            None => Ok(Reaction::default()),
        }
    }

    fn apply(&mut self, mut whole: Pending, expected: u64) -> Reaction {
        let mut left_out = BTreeMap::new();
        for (name, unusable) in std::mem::take(&mut whole.unusable) {
            let reason = match unusable {
                Unusable::Item(reason) => reason,
                Unusable::Endpoints(reason) if self.subscriptions.contains(&name) => reason,
                Unusable::Endpoints(_) => continue,
            };
            left_out.insert(name, (reason.to_string(), false));
        }
        let mut carried = BTreeMap::new();
        for change in &mut whole.changed {
            // Endpoints that were given up while the update was under way are nobody's business any more.
            change.endpoints.take_if(|_| !self.subscriptions.contains(&change.name));
            if self.rejected.contains_key(&change.name) {
                carried.insert(change.name.clone(), (change.entry.is_some(), change.endpoints.is_some()));
            }
        }
        let mut update = Update { changed: whole.changed, ..Update::default() };
        let mut verdicts = whole.verdicts;
        update.removed = whole.removed.iter().filter_map(|name| name.parse().ok()).collect();
        let gone = update.removed.clone();
        let (table, rejections) = self.table.apply(update);
        self.table = table;
        for (name, reason) in rejections {
            left_out.insert(name, (reason.to_string(), depends_on_what_is_held(&reason)));
        }
        for (name, parts) in carried.into_iter().filter(|(name, _)| !left_out.contains_key(name)) {
            self.mended(&name, parts);
        }
        for name in &gone {
            self.rejected.remove(name);
        }
        // Of the same name the last counts.
        let named = whole.versions.into_iter().filter(|(name, _)| left_out.contains_key(name));
        let versions: BTreeMap<_, _> = named.collect();
        let rejected: Vec<_> = left_out
            .into_iter()
            .filter_map(|(name, (reason, resend))| {
                let held = self.table.get(&name).map(Held::versions);
                let rejected = Rejected::new(*versions.get(&name)?, held, reason, resend);
                Some((name, rejected))
            })
            .collect();
        verdicts.extend(rejected.iter().map(|(name, rejected)| self.verdict(name, rejected)));
        self.rejected.extend(rejected.iter().cloned());
        let checksum = self.table.checksums().total();
        // With rejections the sums differ by what was rejected, and only the control plane can tell if by more.
        let diverged = verdicts.is_empty() && checksum != expected;
        let mut reaction = reply(FromProxy::Ack(wire::Ack { nonce: whole.nonce, rejected: verdicts, checksum }));
        let absent = whole.absent.iter().filter_map(|name| name.parse().ok()).collect();
        reaction.applied = Some(Applied { table: self.table.clone(), rejected, absent, diverged });
        reaction
    }

    /// An item with these parts, entry and endpoints, was applied. A part that was rejected earlier and did not come
    /// again is as bad as it was.
    fn mended(&mut self, name: &ServiceName, (entry, endpoints): (bool, bool)) {
        let is_mended = self.rejected.get(name).is_some_and(|rejected| match rejected.part {
            Part::Entry => entry,
            Part::Endpoints => endpoints,
            Part::Both => entry && endpoints,
        });
        if is_mended {
            self.rejected.remove(name);
        }
    }

    fn verdict(&self, name: &ServiceName, rejected: &Rejected) -> wire::Verdict {
        wire::Verdict {
            name: name.to_string(),
            entry_version: rejected.versions.entry.0,
            endpoints_version: rejected.versions.endpoints.map(|version| version.0),
            reason: rejected.reason.clone(),
            resend: rejected.resend,
            held: self.table.get(name).map(|held| held_to_wire(name, &held.versions())),
        }
    }

    fn on_inventory_request(&self, request: &wire::InventoryRequest) -> Result<Reaction, ClientError> {
        if request.buckets.iter().any(|bucket| *bucket as usize >= BUCKETS) {
            return Err(ClientError::OutOfTurn("a request for a bucket that does not exist"));
        }
        let asked: BTreeSet<u32> = request.buckets.iter().copied().collect();
        let held = |bucket: u32| {
            let held = self.table.iter_bucket(bucket as usize);
            let held: Vec<_> = held.map(|(name, held)| held_to_wire(name, &held.versions())).collect();
            (bucket, held)
        };
        let parts = in_parts(asked.into_iter().map(held), |(_, held)| {
            held.iter().map(|held| held.name.len() + ELEMENT_BYTES).sum()
        });
        let inventory = |part: Vec<(u32, Vec<wire::Held>)>| {
            let (buckets, held): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            from_proxy(FromProxy::Inventory(wire::Inventory { buckets, held: held.concat() }))
        };
        Ok(Reaction { replies: parts.into_iter().map(inventory).collect(), ..Reaction::default() })
    }

    fn checksums(&self) -> wire::Checksums {
        wire::Checksums { buckets: self.table.checksums().as_slice().to_vec() }
    }
}

/// The verdict on an item whose name is none here. Whoever sent it knows the name and takes the verdict for what it is;
/// nothing is remembered of it, so that on another stream the item is sent once more.
impl Pending {
    /// Takes an item apart at once: it needs less room than its message.
    fn take(&mut self, item: wire::Item) {
        let name = match item.name.parse::<ServiceName>() {
            Ok(name) => name,
            Err(reason) => {
                self.verdicts.push(verdict_on_name(item, reason.to_string()));
                return;
            }
        };
        self.versions.push((name.clone(), held_versions(item.entry_version, item.endpoints_version)));
        let usable = item_from_wire(&item).and_then(|item| Ok((item.entry.transpose()?, item.endpoints)));
        let (entry, endpoints) = match usable {
            Ok(usable) => usable,
            Err(reason) => {
                self.unusable.insert(name, Unusable::Item(reason));
                return;
            }
        };
        let endpoints = match endpoints.transpose() {
            Ok(endpoints) => endpoints,
            Err(reason) => {
                self.unusable.insert(name.clone(), Unusable::Endpoints(reason));
                None
            }
        };
        self.changed.push(ServiceChange { name, entry, endpoints });
    }
}

fn verdict_on_name(item: wire::Item, reason: String) -> wire::Verdict {
    wire::Verdict {
        name: item.name,
        entry_version: item.entry_version,
        endpoints_version: item.endpoints_version,
        reason,
        resend: false,
        held: None,
    }
}

/// Whether the resource may be good and only did not fit: the delta has another base, or an address is still with a
/// Service whose own change did not fit.
fn depends_on_what_is_held(reason: &Rejection) -> bool {
    match reason {
        Rejection::Endpoints(_) | Rejection::Undeclared | Rejection::VipTaken { .. } => true,
        Rejection::WrongName(_) => false,
    }
}

/// Splits a list so that the elements of each part have at most [`PART_BYTES`] together, or are one. There is no empty
/// part.
fn in_parts<T>(elements: impl IntoIterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for element in elements {
        bytes += size(&element);
        match parts.last_mut() {
            Some(part) if bytes <= PART_BYTES => part.push(element),
            _ => {
                bytes = size(&element);
                parts.push(vec![element]);
            }
        }
    }
    parts
}

fn size_of_name(name: &ServiceName) -> usize {
    name.as_str().len() + ELEMENT_BYTES
}

/// A name that is none is one that we are not subscribed to either.
fn peers_from_wire(peers: &wire::Peers) -> Vec<(ServiceName, u32)> {
    let named = peers.services.iter().filter_map(|service| Some((service.service.parse().ok()?, service.count.max(1))));
    named.collect()
}

/// Asks which Services have an endpoint at these addresses, the first [`MAX_ADDRESSES`] of them.
pub fn owners_request(addresses: &[SocketAddr]) -> wire::FromProxy {
    let addresses = addresses.iter().take(MAX_ADDRESSES).map(|address| address_to_wire(*address)).collect();
    from_proxy(FromProxy::OwnersRequest(wire::OwnersRequest { addresses }))
}

/// An address that is none was not asked for, and a name that is none is no Service that we know.
fn owners_from_wire(owners: &wire::Owners) -> Vec<(SocketAddr, Vec<ServiceName>)> {
    let told = owners.addresses.iter().filter_map(|told| {
        let address = address_from_wire(told.address.as_ref()?).ok()?;
        Some((address, told.services.iter().filter_map(|name| name.parse().ok()).collect()))
    });
    told.collect()
}

fn subscribe_to(names: &[ServiceName]) -> wire::FromProxy {
    let add = names.iter().map(ToString::to_string).collect();
    from_proxy(FromProxy::Subscribe(wire::Subscribe { add, remove: Vec::new() }))
}

fn from_proxy(message: FromProxy) -> wire::FromProxy {
    wire::FromProxy { message: Some(message) }
}

fn reply(message: FromProxy) -> Reaction {
    Reaction { replies: vec![from_proxy(message)], ..Reaction::default() }
}
