//! The control plane's end of one stream.
//!
//! The session keeps what its proxy has acknowledged (the ledger) and what it wants. An update is the difference between
//! that and the latest snapshot, made when the proxy is ready for it: however slow a proxy is, it is owed one difference
//! and never a queue.

mod draft;
mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use wasmesh_core::{
    candidates::Viewpoint,
    checksum::{Checksums, HeldVersions},
    directory::Entry,
    name::ServiceName,
    name_map::BUCKETS,
    service::Service,
    snapshot::{Snapshot, same_service},
    table::ServiceChange,
    version::Versioned,
};

use self::{
    draft::{Change, Draft, Sent},
    ledger::Ledger,
};
use super::{MAX_ADDRESSES, Rejected, encoder::Encoder};
use crate::{
    PROTOCOL,
    convert::{Malformed, address_from_wire, address_to_wire, held_versions},
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

/// How many Services one proxy may subscribe to. A pod talks to a few dozen.
const MAX_SUBSCRIPTIONS: usize = 100_000;

/// How often in a row a Service that did not fit is sent anew.
const MAX_RESENDS: u32 = 3;

/// What a proxy is told that begins with something else.
const NO_HELLO: &str = "the first message must be a Hello";

/// One proxy's stream.
pub struct ServerSession {
    control_plane: String,
    node: wire::Node,
    state: State,
    /// What the proxy holds.
    ledger: Ledger,
    subscriptions: BTreeSet<ServiceName>,
    /// Subscribed since the last update, so owed endpoints or word of their absence.
    requested: BTreeSet<ServiceName>,
    rejected: BTreeMap<ServiceName, Rejected>,
    /// How often in a row a Service was sent anew because it did not fit.
    resent: BTreeMap<ServiceName, u32>,
    in_flight: Option<InFlight>,
    last_nonce: u64,
    /// The first update is owed even if it is empty: it tells the proxy that it is complete.
    owes_first: bool,
    repaired: bool,
}

enum State {
    AwaitingHello,
    AwaitingChecksums,
    AwaitingInventory(BTreeSet<u32>),
    Ready,
}

struct InFlight {
    nonce: u64,
    target: Snapshot,
    sent: Sent,
}

/// What a proxy has of what Services declare, as far as it has acknowledged. A clone is two references.
#[derive(Debug, Clone, Default)]
pub struct Holding {
    base: Snapshot,
    /// The Services of which it has another entry than `base`, or none.
    except: Arc<BTreeSet<ServiceName>>,
}

impl Holding {
    /// A proxy that has all of a snapshot.
    pub fn all_of(snapshot: Snapshot) -> Self {
        Self { base: snapshot, except: Arc::default() }
    }

    /// What the proxy has of a Service; `None` if it has nothing of it, or something that is not known here any more. The
    /// endpoints in it are not necessarily those that the proxy has.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.base.get(name).filter(|_| !self.except.contains(name))
    }

    /// Whether it is certainly the same; the same that came about on another way may be taken for another.
    pub fn is_same(&self, other: &Self) -> bool {
        self.base.ptr_eq(&other.base) && self.except == other.except
    }
}

/// What a message led to, besides replies.
#[derive(Debug, Default)]
pub struct Reaction {
    /// Messages to send.
    pub replies: Vec<wire::ToProxy>,
    /// An update was acknowledged.
    pub acknowledged: bool,
    /// Resources that the proxy has just rejected.
    pub rejected: Vec<(ServiceName, Rejected)>,
    /// What became of policies on the proxy.
    pub policies: Option<wire::PolicyReport>,
    /// The proxy asks whose these addresses are.
    pub owners_asked: Vec<SocketAddr>,
}

/// Why a stream must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Another revision of the protocol.
    #[error(
        "the proxy speaks protocol revision {0}, this control plane speaks {PROTOCOL}: update the older of the two"
    )]
    Protocol(u32),
    /// A message out of turn.
    #[error("{0}")]
    OutOfTurn(&'static str),
    /// A message that makes no sense.
    #[error("a message makes no sense: {0}")]
    Malformed(#[from] Malformed),
    /// More than a proxy may ask for.
    #[error("more than {MAX_SUBSCRIPTIONS} subscriptions")]
    TooMany,
    /// Repair did not help.
    #[error("the proxy's state still differs after it was compared and repaired")]
    Diverged,
}

impl ServerSession {
    /// A stream on which nothing has been said yet. `control_plane` names this replica.
    pub fn new(control_plane: impl Into<String>) -> Self {
        Self {
            control_plane: control_plane.into(),
            node: wire::Node::default(),
            state: State::AwaitingHello,
            ledger: Ledger::default(),
            subscriptions: BTreeSet::new(),
            requested: BTreeSet::new(),
            rejected: BTreeMap::new(),
            resent: BTreeMap::new(),
            in_flight: None,
            last_nonce: 0,
            owes_first: true,
            repaired: false,
        }
    }

    /// Who the proxy is, once it has said so.
    pub fn node(&self) -> &wire::Node {
        &self.node
    }

    /// The Services whose endpoints it wants.
    pub fn subscriptions(&self) -> &BTreeSet<ServiceName> {
        &self.subscriptions
    }

    /// What it will not take.
    pub fn rejected(&self) -> &BTreeMap<ServiceName, Rejected> {
        &self.rejected
    }

    /// Whether the proxy has acknowledged everything in `latest`, up to what it has rejected.
    pub fn is_current(&self, latest: &Snapshot) -> bool {
        matches!(self.state, State::Ready)
            && !self.owes_first
            && self.in_flight.is_none()
            && self.requested.is_empty()
            && self.ledger.base().ptr_eq(latest)
    }

    /// What the proxy has of what Services declare; `None` while that is being found out. What is under way to it does not
    /// count before it is acknowledged, and takes nothing away from what was.
    pub fn holding(&self) -> Option<Holding> {
        matches!(self.state, State::Ready).then(|| Holding {
            base: self.ledger.base().clone(),
            except: Arc::new(self.ledger.other_entries().collect()),
        })
    }

    /// Takes a message from the proxy.
    ///
    /// # Errors
    /// When the stream must end; the error says why.
    pub fn on_message(&mut self, message: wire::FromProxy, latest: &Snapshot) -> Result<Reaction, SessionError> {
        let awaits_hello = matches!(self.state, State::AwaitingHello);
        let Some(message) = message.message else {
            // A proxy that is newer has more to say. To end its stream would only make it come again and say the same.
            return if awaits_hello { Err(SessionError::OutOfTurn(NO_HELLO)) } else { Ok(Reaction::default()) };
        };
        match (message, awaits_hello) {
            (FromProxy::Hello(hello), true) => self.on_hello(hello, latest),
            (FromProxy::Hello(_), false) => Err(SessionError::OutOfTurn("a second Hello")),
            (_, true) => Err(SessionError::OutOfTurn(NO_HELLO)),
            (FromProxy::Subscribe(subscribe), _) => self.on_subscribe(&subscribe),
            (FromProxy::Ack(ack), _) => self.on_ack(ack),
            (FromProxy::Checksums(checksums), _) => self.on_checksums(&checksums),
            (FromProxy::Inventory(inventory), _) => self.on_inventory(&inventory),
            (FromProxy::Policies(report), _) => Ok(Reaction { policies: Some(report), ..Reaction::default() }),
            (FromProxy::OwnersRequest(request), _) => {
                let addresses = request.addresses.iter().take(MAX_ADDRESSES).map(address_from_wire);
                Ok(Reaction { owners_asked: addresses.collect::<Result<_, _>>()?, ..Reaction::default() })
            }
        }
    }

    fn on_hello(&mut self, hello: wire::Hello, latest: &Snapshot) -> Result<Reaction, SessionError> {
        if hello.protocol != PROTOCOL {
            return Err(SessionError::Protocol(hello.protocol));
        }
        self.node = hello.node.unwrap_or_default();
        let viewpoint = Viewpoint { node: self.node.node.clone(), zone: self.node.zone.clone() };
        self.subscriptions = names(&hello.subscriptions)?;
        if self.subscriptions.len() > MAX_SUBSCRIPTIONS {
            return Err(SessionError::TooMany);
        }
        for verdict in hello.rejected {
            let versions = held_versions(verdict.entry_version, verdict.endpoints_version);
            let held = verdict.held.map(|held| held_versions(held.entry_version, held.endpoints_version));
            let name = verdict.name.parse().map_err(Malformed::from)?;
            self.rejected.insert(name, Rejected::new(versions, held, verdict.reason, verdict.resend));
        }
        self.state = State::Ready;
        let (control_plane, node) = (self.control_plane.clone(), Some(self.node.clone()));
        let welcome = wire::Welcome { protocol: PROTOCOL, control_plane, node };
        let mut replies = vec![to_proxy(ToProxy::Welcome(welcome))];
        match hello.held {
            // Most of what a proxy holds is the latest already, wherever it was connected before; comparing finds the rest.
            Some(held) => {
                self.ledger = Ledger::current(viewpoint, latest, &self.subscriptions);
                self.requested = self.subscriptions.iter().filter(|name| latest.get(name).is_none()).cloned().collect();
                replies.extend(self.compare(&held)?);
            }
            None => {
                self.ledger = Ledger::empty(viewpoint);
                self.requested.clone_from(&self.subscriptions);
            }
        }
        Ok(Reaction { replies, ..Reaction::default() })
    }

    fn on_checksums(&mut self, checksums: &wire::Checksums) -> Result<Reaction, SessionError> {
        let replies = self.compare(checksums)?.into_iter().collect();
        Ok(Reaction { replies, ..Reaction::default() })
    }

    fn compare(&mut self, theirs: &wire::Checksums) -> Result<Option<wire::ToProxy>, SessionError> {
        let theirs = Checksums::from_slice(&theirs.buckets)
            .ok_or_else(|| Malformed::field("a list of checksums", &theirs.buckets.len(), "256 buckets expected"))?;
        // Bucket numbers are below 256.
        let buckets: BTreeSet<u32> =
            self.ledger.checksums().differing(&theirs).into_iter().map(|bucket| bucket as u32).collect();
        if buckets.is_empty() {
            if matches!(self.state, State::AwaitingChecksums) {
                self.state = State::Ready;
            }
            return Ok(None);
        }
        let request = wire::InventoryRequest { buckets: buckets.iter().copied().collect() };
        self.state = State::AwaitingInventory(buckets);
        Ok(Some(to_proxy(ToProxy::InventoryRequest(request))))
    }

    fn on_inventory(&mut self, inventory: &wire::Inventory) -> Result<Reaction, SessionError> {
        let State::AwaitingInventory(asked) = &mut self.state else {
            return Err(SessionError::OutOfTurn("an inventory that was not asked for"));
        };
        let answered: BTreeSet<u32> = inventory.buckets.iter().copied().collect();
        if answered.is_empty() || !answered.is_subset(asked) {
            return Err(SessionError::OutOfTurn("an inventory of other buckets than those asked for"));
        }
        asked.retain(|bucket| !answered.contains(bucket));
        if asked.is_empty() {
            self.state = State::Ready;
        }
        let mut actual = HashMap::new();
        for held in &inventory.held {
            let name: ServiceName = held.name.parse().map_err(Malformed::from)?;
            actual.insert(name, held_versions(held.entry_version, held.endpoints_version));
        }
        let in_buckets = answered.iter().flat_map(|bucket| self.ledger.base().iter_bucket(*bucket as usize));
        let expected: HashSet<ServiceName> = in_buckets.map(|(name, _)| name.clone()).collect();
        for name in expected.iter().chain(actual.keys().filter(|name| !expected.contains(*name))) {
            self.ledger.set_held(name, actual.get(name).copied());
        }
        Ok(Reaction::default())
    }

    fn on_subscribe(&mut self, subscribe: &wire::Subscribe) -> Result<Reaction, SessionError> {
        for name in names(&subscribe.remove)? {
            self.subscriptions.remove(&name);
            self.requested.remove(&name);
            // The proxy forgets the endpoints as it says so.
            self.ledger.forget_endpoints(&name);
        }
        for name in names(&subscribe.add)? {
            if self.subscriptions.insert(name.clone()) {
                self.requested.insert(name);
            }
        }
        if self.subscriptions.len() > MAX_SUBSCRIPTIONS {
            return Err(SessionError::TooMany);
        }
        Ok(Reaction::default())
    }

    fn on_ack(&mut self, ack: wire::Ack) -> Result<Reaction, SessionError> {
        let Some(update) = self.in_flight.take_if(|update| update.nonce == ack.nonce) else {
            return Err(SessionError::OutOfTurn("an acknowledgement of an update that is not under way"));
        };
        let mut reaction = Reaction { acknowledged: true, ..Reaction::default() };
        let mut verdicts = HashMap::new();
        for verdict in ack.rejected {
            let name: ServiceName = verdict.name.parse().map_err(Malformed::from)?;
            verdicts.insert(name, verdict);
        }
        // What did not fit an earlier state and was not tried again in this update.
        let misfits = self.rejected.iter().filter(|(name, why)| why.resend && !update.sent.contains_key(*name));
        let misfits: Vec<_> = misfits.map(|(name, _)| name.clone()).collect();
        let mut held_now = Vec::with_capacity(update.sent.len());
        for (name, change) in update.sent {
            let Some(verdict) = verdicts.remove(&name) else {
                // What was sent may have been without a part that was rejected earlier, and still is.
                let now = self.applied(&name, change);
                if self.rejected.contains_key(&name) && now == self.wanted(&name, &update.target) {
                    self.rejected.remove(&name);
                }
                self.resent.remove(&name);
                held_now.push((name, now));
                continue;
            };
            let held = verdict.held.map(|held| held_versions(held.entry_version, held.endpoints_version));
            held_now.push((name.clone(), held));
            if verdict.resend && self.may_resend(&name) {
                continue;
            }
            let versions = held_versions(verdict.entry_version, verdict.endpoints_version);
            let rejected = Rejected::new(versions, held, verdict.reason, verdict.resend);
            let rejected = rejected.joined_with(self.rejected.remove(&name));
            reaction.rejected.push((name.clone(), rejected.clone()));
            self.rejected.insert(name, rejected);
        }
        if !misfits.is_empty() && self.frees_addresses(&held_now) {
            for name in misfits {
                self.rejected.remove(&name);
                self.resent.remove(&name);
            }
        }
        self.ledger.advance(update.target, held_now);
        if ack.checksum == self.ledger.checksums().total() {
            self.repaired = false;
        } else if !matches!(self.state, State::Ready) {
            // A comparison is under way already.
        } else if std::mem::replace(&mut self.repaired, true) {
            return Err(SessionError::Diverged);
        } else {
            // No update until it is known what the proxy holds: its acknowledgement would not match either.
            self.state = State::AwaitingChecksums;
            reaction.replies.push(to_proxy(ToProxy::ChecksumsRequest(wire::ChecksumsRequest {})));
        }
        Ok(reaction)
    }

    /// What the proxy holds of a Service after it has applied a change. Its subscription may have come or gone while that
    /// was under way: what it said of it before the acknowledgement, it had done before it applied the update.
    fn applied(&self, name: &ServiceName, change: Change) -> Option<HeldVersions> {
        let after = change.after?;
        let endpoints = if change.carries_endpoints {
            after.endpoints.filter(|_| self.subscriptions.contains(name))
        } else {
            self.ledger.held(name).and_then(|held| held.endpoints)
        };
        Some(HeldVersions { endpoints, ..after })
    }

    /// Whether the proxy has another entry than before of any of these, so that what did not fit then may fit now: its
    /// address may have become free.
    fn frees_addresses(&self, held_now: &[(ServiceName, Option<HeldVersions>)]) -> bool {
        let entry = |held: Option<HeldVersions>| held.map(|held| held.entry);
        held_now.iter().any(|(name, now)| entry(self.ledger.held(name)) != entry(*now))
    }

    /// What did not fit is sent anew, knowing what is held; if that keeps failing, something is wrong with it after all.
    fn may_resend(&mut self, name: &ServiceName) -> bool {
        let resent = self.resent.entry(name.clone()).or_default();
        *resent += 1;
        *resent <= MAX_RESENDS
    }

    /// The next update, in parts, if one is owed and the proxy is ready for it. Empty otherwise.
    pub fn poll(&mut self, latest: &Snapshot, encoder: &Encoder) -> Vec<wire::ToProxy> {
        if self.in_flight.is_some() || !matches!(self.state, State::Ready) {
            return Vec::new();
        }
        let mut update = Draft::default();
        for name in self.names_to_look_at(latest) {
            self.draft_one(&name, latest, encoder, &mut update);
        }
        self.requested.clear();
        if update.is_empty() && !self.owes_first {
            // What differs is nothing that this proxy has to know.
            self.ledger.rebase(latest);
            return Vec::new();
        }
        self.owes_first = false;
        self.last_nonce += 1;
        let (parts, sent) = update.into_parts(self.last_nonce, &self.ledger);
        self.in_flight = Some(InFlight { nonce: self.last_nonce, target: latest.clone(), sent });
        parts.into_iter().map(|part| to_proxy(ToProxy::Update(part))).collect()
    }

    fn names_to_look_at(&self, latest: &Snapshot) -> BTreeSet<ServiceName> {
        let changed = self.ledger.base().differences(latest, same_service).map(|(name, _, _)| name);
        changed.chain(self.ledger.exceptions()).chain(&self.requested).cloned().collect()
    }

    fn draft_one(&mut self, name: &ServiceName, latest: &Snapshot, encoder: &Encoder, update: &mut Draft) {
        let held = self.ledger.held(name);
        let Some(service) = latest.get(name) else {
            self.rejected.remove(name);
            self.resent.remove(name);
            match held {
                Some(_) => update.remove(name),
                None if self.requested.contains(name) => update.absent(name),
                None => {}
            }
            return;
        };
        let wanted = self.ledger.versions(service, self.subscriptions.contains(name));
        let wanted = match self.rejected.get(name) {
            Some(rejected) => rejected.without(wanted, held),
            None => Some(wanted),
        };
        let Some(wanted) = wanted.filter(|wanted| held != Some(*wanted)) else { return };
        let change = self.change(name, service, held, wanted);
        update.put(name, wanted, change.endpoints.is_some(), encoder.body(&change));
    }

    /// What the proxy should hold of a Service in `snapshot`.
    fn wanted(&self, name: &ServiceName, snapshot: &Snapshot) -> Option<HeldVersions> {
        Some(self.ledger.versions(snapshot.get(name)?, self.subscriptions.contains(name)))
    }

    /// What leads from `held` to `wanted`.
    fn change(
        &self,
        name: &ServiceName,
        service: &Service,
        held: Option<HeldVersions>,
        wanted: HeldVersions,
    ) -> ServiceChange {
        let entry = held.is_none_or(|held| held.entry != wanted.entry).then(|| Versioned {
            version: wanted.entry,
            value: Arc::new(Entry {
                spec: Arc::clone(&service.spec.value),
                reach: service.reach_from(self.ledger.viewpoint()),
            }),
        });
        let held_endpoints = held.and_then(|held| held.endpoints);
        let endpoints = (wanted.endpoints.is_some() && wanted.endpoints != held_endpoints).then(|| {
            let base = self.ledger.base().get(name).filter(|base| held_endpoints == Some(base.endpoints.version()));
            match base {
                Some(base) => service.endpoints.delta_from(&base.endpoints),
                // What it holds is not known here, only that it is something else.
                None => service.endpoints.as_replacement(),
            }
        });
        ServiceChange { name: name.clone(), entry, endpoints }
    }
}

/// Says which Services have an endpoint at each of these addresses.
pub fn owners(told: impl IntoIterator<Item = (SocketAddr, Vec<ServiceName>)>) -> wire::ToProxy {
    let told = told.into_iter().map(|(address, services)| wire::AddressOwners {
        address: Some(address_to_wire(address)),
        services: services.iter().map(ToString::to_string).collect(),
    });
    to_proxy(ToProxy::Owners(wire::Owners { addresses: told.collect() }))
}

fn to_proxy(message: ToProxy) -> wire::ToProxy {
    wire::ToProxy { message: Some(message) }
}

fn names(texts: &[String]) -> Result<BTreeSet<ServiceName>, Malformed> {
    texts.iter().map(|text| text.parse().map_err(Malformed::from)).collect()
}

const _: () = assert!(BUCKETS == 256, "the .proto promises 256 buckets");
