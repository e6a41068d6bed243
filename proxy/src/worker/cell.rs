//! A cell: one worker's view of one Service port over one family, with everything that a pick needs at hand.

use std::{cell, collections::HashMap, rc::Rc, sync::Arc};

use wasmesh_core::{
    affinity::{Pin, first_choice},
    endpoint::{Endpoint, EndpointId},
    load::EndpointLoad,
    policy::{Balancer, OnFailure, PickRequest, WasmPolicy},
    service::{AppProtocol, ServicePort, ServiceSpec},
};
use wasmesh_policy_host::Outcome;
use wasmesh_telemetry::Metrics;

use super::CellKey;
use crate::{
    clock::now_us,
    http::Pool,
    limits::Waiting,
    policy::{
        fitted::{Chosen, Decided, Moment},
        past::{Said, Went},
        question::{Kind, Question},
        record::Role,
        seat::{Seat, Verdict},
        ticket::Ticket,
    },
    service_metrics::ServiceMetrics,
    world::LiveService,
};

/// The endpoints of a Service port and how to choose among them. Replaced as a whole when either changes.
pub struct Cell {
    key: CellKey,
    spec: Arc<ServiceSpec>,
    service: Arc<LiveService>,
    balancer: Arc<Balancer>,
    /// The last world that it is known to be of.
    epoch: cell::Cell<u64>,
    cursor: cell::Cell<u64>,
    /// One per candidate, in the balancer's order.
    slots: Box<[Rc<Slot>]>,
    metrics: Rc<ServiceMetrics>,
    affinity: Option<SessionAffinity>,
    /// Where users' policies sit, if there are any.
    seat: Rc<Seat>,
    /// Until when it is known that the servers of this port speak first.
    server_first_until_us: cell::Cell<u64>,
}

/// What a cell is made for.
#[derive(Clone, Copy)]
pub(super) struct Port<'a> {
    pub(super) key: &'a CellKey,
    pub(super) spec: &'a Arc<ServiceSpec>,
    pub(super) service: &'a Arc<LiveService>,
    pub(super) balancer: &'a Arc<Balancer>,
}

/// By whom an endpoint was chosen: by default not by a user's policy, which is told of it all the same.
#[derive(Clone, Copy)]
struct By {
    role: Role,
    tag: u64,
    alternate: Option<EndpointId>,
}

impl Default for By {
    fn default() -> Self {
        Self { role: Role::Serving, tag: 0, alternate: None }
    }
}

/// How requests stay on one endpoint.
pub(super) struct SessionAffinity {
    /// Where they are pinned, shared by all workers.
    pub(super) pin: Arc<Pin>,
    /// Who the client is.
    pub(super) client: u64,
    /// How long a pin lasts unused.
    pub(super) timeout_us: u64,
}

/// What is learned of who speaks first is forgotten after this long: another version of a server may differ.
const LEARNED_FOR_US: u64 = 600_000_000;

/// One worker's connections to one endpoint.
pub struct Slot {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its load, shared with all workers.
    pub load: Arc<EndpointLoad>,
    /// Idle connections to it.
    pub pool: Pool,
}

/// The endpoint that was chosen for a request. It counts as load from here on, until this is dropped: whoever picks next
/// sees it, even while it is still connecting.
pub struct Pick {
    /// The endpoint.
    pub slot: Rc<Slot>,
    /// The one to try next if this one cannot be connected to, by word of the policy.
    pub alternate: Option<Onward>,
    /// For a policy that wants to know how it went.
    ticket: Option<Box<Ticket>>,
}

/// Where a request is to go next without another choice.
#[derive(Debug, Clone, Copy)]
pub struct Onward {
    endpoint: EndpointId,
    role: Role,
    tag: u64,
}

/// What came of a pick.
pub enum Picked {
    /// An endpoint.
    Endpoint(Pick),
    /// The policy wants the request answered with this status.
    Rejected(u16),
    /// The policy wants to be asked again in so many milliseconds.
    Held(u32),
    /// The policy must not be bypassed, and will be there in a moment.
    PolicyNotYet,
    /// The policy has failed, and must not be bypassed.
    Failed,
    /// There is none.
    Nobody,
}

/// What has been tried for a request already.
#[derive(Clone, Copy)]
pub struct Tried<'a> {
    /// Endpoints that are not to be tried again.
    pub failed: &'a [EndpointId],
    /// How many attempts were made.
    pub attempts: usize,
    /// How often the policy has held it.
    pub holds: usize,
    /// Where it is to go next without another choice.
    pub onward: Option<Onward>,
    /// Whether the policy may hold it (any longer).
    pub may_hold: bool,
    /// Whether it may wait (any longer) for a policy that must not be bypassed.
    pub may_await_policy: bool,
}

impl Pick {
    /// Once more the same endpoint: what failed was a connection that had been kept too long.
    pub fn again(&self) -> Onward {
        let (role, tag) = self.ticket().map_or((Role::Serving, 0), Ticket::of);
        Onward { endpoint: self.slot.endpoint.id, role, tag }
    }

    /// The policy's ticket, if it wants to know how requests end.
    pub fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_deref()
    }

    /// It was a connection that is not looked into, and has ended.
    pub fn streamed(&self) {
        self.ticket().into_iter().for_each(|ticket| ticket.ended(Outcome { streamed: true, ..Outcome::default() }));
    }

    /// It came to nothing; `blamed` if that is the endpoint's doing.
    pub fn lost(&self, blamed: bool) {
        match &self.ticket {
            Some(ticket) if blamed => ticket.ended(Outcome { transport_error: true, ..Outcome::default() }),
            Some(ticket) => ticket.forget(),
            None => {}
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.slot.load.end();
    }
}

impl Cell {
    /// The cell of a Service port. Of the one `before` it keeps the connections to endpoints that stay, and what was
    /// learned; `seed` is where round robin starts if there was none.
    pub(super) fn new(
        Port { key, spec, service, balancer }: Port<'_>,
        before: Option<&Self>,
        affinity: Option<SessionAffinity>,
        seed: u64,
        seat: Rc<Seat>,
        metrics: &Metrics,
    ) -> Self {
        let known: HashMap<EndpointId, &Rc<Slot>> =
            before.iter().flat_map(|before| &before.slots).map(|slot| (slot.endpoint.id, slot)).collect();
        let cursor = before.map_or(seed, |before| before.cursor.get()).into();
        let server_first_until_us = before.map_or(0, |before| before.server_first_until_us.get()).into();
        let slots = balancer.candidates().iter().map(|candidate| match known.get(&candidate.endpoint.id) {
            // The same endpoint may have changed in all but its address, and its load is the same object.
            Some(slot) if Arc::ptr_eq(&slot.load, &candidate.load) => Rc::clone(slot),
            _ => Rc::new(Slot {
                endpoint: Arc::clone(&candidate.endpoint),
                load: Arc::clone(&candidate.load),
                pool: Pool::default(),
            }),
        });
        let slots = slots.collect();
        let metrics = Rc::new(ServiceMetrics::new(spec, key.port, metrics));
        let (key, spec, service, balancer) = (key.clone(), Arc::clone(spec), Arc::clone(service), Arc::clone(balancer));
        let epoch = cell::Cell::default();
        Self { key, spec, service, balancer, epoch, cursor, slots, metrics, affinity, seat, server_first_until_us }
    }

    /// It is that of this world, too.
    pub(super) fn stays_in(&self, epoch: u64) {
        self.epoch.set(epoch);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Says that its Service is in use.
    pub fn touch(&self, now_us: u64) {
        self.service.touch(now_us);
    }

    /// The requests of its Service that wait for their answer.
    pub fn waiting(&self) -> &Waiting {
        self.service.waiting()
    }

    pub(super) fn key(&self) -> &CellKey {
        &self.key
    }

    pub(super) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// The Service port, as it was when the cell was made.
    pub fn port(&self) -> Option<&ServicePort> {
        self.spec.ports.get(self.key.port)
    }

    /// Whether what is spoken is declared to be nothing to look into.
    pub fn is_opaque(&self) -> bool {
        self.port().is_some_and(|port| matches!(port.protocol, AppProtocol::Tls | AppProtocol::Tcp))
    }

    /// What is counted for it.
    pub fn metrics(&self) -> &Rc<ServiceMetrics> {
        &self.metrics
    }

    /// How many endpoints there are to choose from.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the servers of this port are known to speak before their clients.
    pub fn server_speaks_first(&self) -> bool {
        self.server_first_until_us.get() > now_us()
    }

    /// A server of this port has spoken before its client.
    pub fn learn_that_server_speaks_first(&self) {
        self.server_first_until_us.set(now_us() + LEARNED_FOR_US);
    }

    /// Who could be picked.
    pub fn endpoint_ids(&self) -> impl Iterator<Item = EndpointId> {
        self.slots.iter().map(|slot| slot.endpoint.id)
    }

    /// Closes connections that nobody uses at the moment.
    pub(super) fn close_idle(&self) {
        self.slots.iter().for_each(|slot| slot.pool.close_idle());
    }

    /// Lets go of connections that are of no use any more.
    pub(super) fn sweep(&self) {
        self.slots.iter().for_each(|slot| slot.pool.sweep());
    }

    /// Where users' policies sit.
    pub fn seat(&self) -> &Rc<Seat> {
        &self.seat
    }

    /// The user's policy of this port.
    pub fn wasm_policy(&self) -> Option<&Arc<WasmPolicy>> {
        self.port()?.policy.wasm()
    }

    /// Chooses an endpoint, other than those on which the same request has failed.
    ///
    /// A session stays where it is pinned; else the user's policy is asked, if there is one. The built-in policy answers
    /// whatever that leaves open.
    pub fn pick(&self, question: &Question<'_>, random: u64, tried: &Tried<'_>) -> Picked {
        let now_us = now_us();
        let place = |id: &EndpointId| self.slots.iter().position(|slot| slot.endpoint.id == *id);
        let avoid: Vec<usize> = tried.failed.iter().filter_map(place).collect();
        let may_take = |index: &usize| !avoid.contains(index) && self.takes_traffic(*index, now_us);
        let pinned = self.affinity.as_ref().and_then(|affinity| self.pinned(affinity, now_us));
        // A policy sees that time has passed since it was asked first, whatever it was that took the time.
        let attempt = u32::try_from(tried.attempts + tried.holds).unwrap_or(u32::MAX);
        let moment = Moment { now_us, random, attempt, avoid: tried.failed.last().copied() };
        if let Some(index) = pinned.filter(may_take) {
            self.metrics.picked(tried.attempts == 0);
            let picked = self.picked(index, By::default(), now_us);
            return self.remembered(picked, None, &moment, Said::Session);
        }
        if let Some(onward) = tried.onward
            && let Some(index) = place(&onward.endpoint).filter(may_take)
        {
            self.metrics.picked(tried.attempts == 0);
            let picked = self.picked(index, By { role: onward.role, tag: onward.tag, alternate: None }, now_us);
            return self.remembered(picked, None, &moment, Said::Onward);
        }
        let request = PickRequest { random, key: question.key, now_us, avoid: &avoid };
        let Some(policy) = self.wasm_policy() else { return self.pick_builtin(&request, tried) };
        let verdict = self.seat.decide(policy, question, &moment);
        let (asked, said) = match verdict {
            Verdict::By(role, Decided::Endpoint(Chosen { id, alternate, reason, .. })) => {
                (Some(role), Said::Endpoint { role, chosen: id, alternate, reason })
            }
            Verdict::By(role, Decided::Reject(status)) => (Some(role), Said::Reject(role, status)),
            Verdict::By(role, Decided::Hold(ms)) => (Some(role), Said::Hold(role, ms)),
            Verdict::By(role, Decided::Fallback) => (Some(role), Said::Fallback(role)),
            Verdict::NotYet => (None, Said::NotYet),
            Verdict::Failed { just_now: true } => (Some(Role::Serving), Said::Failed),
            Verdict::Failed { just_now: false } => (None, Said::LeftAlone),
        };
        let picked = self.follow(verdict, policy, question, &request, tried);
        self.remembered(picked, asked, &moment, said)
    }

    /// Acts on what the user's policy has said.
    fn follow(
        &self,
        verdict: Verdict,
        policy: &WasmPolicy,
        question: &Question<'_>,
        request: &PickRequest<'_>,
        tried: &Tried<'_>,
    ) -> Picked {
        let place = |id: &EndpointId| self.slots.iter().position(|slot| slot.endpoint.id == *id);
        let is_http = matches!(question.kind, Kind::Http | Kind::Grpc);
        match verdict {
            Verdict::By(role, Decided::Endpoint(chosen)) => {
                let knows = self.seat.knows(role, self.balancer.candidates());
                let index = if knows { Some(chosen.index) } else { place(&chosen.id) };
                if let Some(index) = index.filter(|index| self.balancer.accepts(*index, request)) {
                    self.seat.acted_on(role, &chosen);
                    let Chosen { tag, alternate, .. } = chosen;
                    return self.picked(index, By { role, tag, alternate }, request.now_us);
                }
                // Gone, ejected, or just failed: no fault of the policy's, which cannot know everything in time.
                self.metrics.policy_overridden();
                return self.pick_builtin(request, tried);
            }
            Verdict::By(_, Decided::Reject(status)) if is_http => return Picked::Rejected(status),
            Verdict::By(_, Decided::Hold(ms)) if is_http && tried.may_hold => return Picked::Held(ms),
            // A connection cannot be told a status, and its client may be waiting for a greeting.
            Verdict::By(_, Decided::Reject(_) | Decided::Hold(_) | Decided::Fallback) => {
                self.metrics.policy_fell_back();
            }
            Verdict::NotYet if policy.on_failure == OnFailure::Refuse && tried.may_await_policy => {
                return Picked::PolicyNotYet;
            }
            Verdict::NotYet | Verdict::Failed { .. } if policy.on_failure == OnFailure::Refuse => {
                return Picked::Failed;
            }
            Verdict::NotYet | Verdict::Failed { .. } => self.metrics.policy_fell_back(),
        }
        self.seat.fell_back();
        self.pick_builtin(request, tried)
    }

    /// Keeps what was picked in mind, where there is a policy of the user's that one may want to understand.
    fn remembered(&self, picked: Picked, asked: Option<Role>, moment: &Moment, said: Said) -> Picked {
        if self.wasm_policy().is_none() {
            return picked;
        }
        let went = match &picked {
            Picked::Endpoint(pick) => Some(Went {
                id: pick.slot.endpoint.id,
                address: pick.slot.endpoint.address,
                // This one counts already.
                in_flight: pick.slot.load.in_flight().saturating_sub(1),
                latency_us: pick.slot.load.latency_us(moment.now_us).ceil() as u32,
                failure_rate: pick.slot.load.health().failure_rate(),
            }),
            _ => None,
        };
        self.seat.remember(asked, moment, said, went);
        picked
    }

    fn pick_builtin(&self, request: &PickRequest<'_>, tried: &Tried<'_>) -> Picked {
        match self.balancer.pick(&self.cursor, request) {
            Some(index) => {
                self.metrics.picked(tried.attempts == 0);
                self.picked(index, By::default(), request.now_us)
            }
            None => Picked::Nobody,
        }
    }

    fn takes_traffic(&self, index: usize, now_us: u64) -> bool {
        let load = &self.slots[index].load;
        !load.is_withdrawn() && !load.health().is_ejected(now_us)
    }

    /// From here on the request is load of the endpoint.
    fn picked(&self, index: usize, by: By, now_us: u64) -> Picked {
        let slot = Rc::clone(&self.slots[index]);
        if let Some(affinity) = &self.affinity {
            affinity.pin.set(slot.endpoint.id, now_us);
        }
        let By { role, tag, alternate } = by;
        let record = self.wasm_policy().and_then(|_| self.seat.wants_feedback(role));
        let ticket = record.map(|record| Box::new(Ticket::new(&self.seat, role, record, slot.endpoint.id, tag)));
        slot.load.begin();
        let alternate = alternate.map(|endpoint| Onward { endpoint, role, tag });
        Picked::Endpoint(Pick { slot, alternate, ticket })
    }

    /// Where affinity wants a request to go, if that endpoint is there and has not been ejected.
    fn pinned(&self, affinity: &SessionAffinity, now_us: u64) -> Option<usize> {
        let index = match affinity.pin.current(affinity.timeout_us, now_us) {
            Some(id) => self.slots.iter().position(|slot| slot.endpoint.id == id)?,
            None if affinity.pin.is_fresh() => first_choice(affinity.client, self.balancer.candidates())?,
            None => return None,
        };
        self.takes_traffic(index, now_us).then_some(index)
    }
}
