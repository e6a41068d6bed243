//! One sidecar: what it believes of the endpoints, and the policy that it asks.
//!
//! What it learns of an attempt, and what becomes of a choice, is as in the proxy: proxy/src/worker/cell.rs, http/exchange.rs, health.rs.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use wasmesh_core::{
    ejection::EjectionRule,
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    load::{EndpointLoad, TotalLoad},
    policy::{Balancer, BuiltinPolicy, Candidate, PickRequest, quarantine::Quarantine},
};
use wasmesh_policy_host::{
    About, Choice, Instance, Outcome, Policy, Report, Request, RequestSource, Traits, Want, Word,
};

use super::{
    body,
    outcome::Why,
    random::{Draw, mix},
    servers::Server,
};
use crate::policy::{
    live::{Live, view},
    load::about,
};

/// To policies that go by latency a dead endpoint is a very slow one: a sidecar's usual `--connect-timeout`.
const UNREACHABLE_US: u64 = 2_000_000;

/// The state of a larger instance is not carried over to the next list, as in a sidecar.
const MAX_SNAPSHOT_BYTES: usize = 4 << 20;

/// What chooses.
#[derive(Clone)]
pub(super) enum Subject {
    Builtin(BuiltinPolicy),
    Module { name: String, policy: Arc<Policy>, fallback: BuiltinPolicy },
}

impl Subject {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Builtin(policy) => policy.name().to_owned(),
            Self::Module { name, .. } => format!("{name} (module)"),
        }
    }
}

/// Whom a request goes to, and why.
#[derive(Debug, Clone)]
pub(super) struct Picked {
    pub(super) server: usize,
    /// Where to go next if nobody is there.
    pub(super) alternate: Option<usize>,
    pub(super) why: Why,
    tag: u64,
    id: u64,
    load: Arc<EndpointLoad>,
}

/// A sidecar. It sees its own requests only.
pub(super) struct Sidecar {
    pub(super) zone: String,
    subject: Subject,
    candidates: Arc<[Candidate]>,
    /// The server of each candidate.
    servers: Vec<usize>,
    /// What it has seen of each server, in which incarnation.
    loads: Vec<(u32, Arc<EndpointLoad>)>,
    total: Arc<TotalLoad>,
    balancer: Balancer,
    cursor: Cell<u64>,
    instance: Option<Instance>,
    quarantine: Quarantine,
    generation: u64,
    peers: u32,
    about: About,
    /// Faults of the module.
    pub(super) faults: u64,
    /// Lists that it did not take.
    pub(super) refused_lists: u64,
}

/// Whom a module leaves a request to.
enum Asked {
    Chosen { index: usize, alternate: Option<usize>, reason: u32, tag: u64 },
    Rejected(u32),
    Builtin(Why),
}

impl Sidecar {
    pub(super) fn new(subject: &Subject, number: usize, zone: &str, peers: usize, servers: &[Server]) -> Self {
        let total = Arc::default();
        let loads = servers.iter().map(|_| (0, Arc::new(EndpointLoad::counting_towards(&total)))).collect();
        let mut about = about();
        for (name, value) in &mut about.0 {
            match name.as_str() {
                "zone" => zone.clone_into(value),
                "proxy" => *value = format!("client-{number}"),
                "node" => *value = format!("node-{number}"),
                _ => {}
            }
        }
        Self {
            zone: zone.to_owned(),
            subject: subject.clone(),
            candidates: Arc::new([]),
            servers: Vec::new(),
            loads,
            total,
            balancer: Balancer::new(BuiltinPolicy::LeastRequest, Arc::new([])),
            cursor: Cell::new(mix(number as u64)),
            instance: None,
            quarantine: Quarantine::default(),
            generation: 0,
            peers: u32::try_from(peers).unwrap_or(u32::MAX),
            about,
            faults: 0,
            refused_lists: 0,
        }
    }

    /// Learns who is there.
    pub(super) fn learn(&mut self, servers: &[Server], is_known: &[bool], now_us: u64) {
        self.servers = (0..servers.len()).filter(|at| is_known[*at]).collect();
        for (at, (incarnation, load)) in self.loads.iter_mut().enumerate() {
            if !is_known[at] {
                load.withdraw();
                continue;
            }
            if *incarnation != servers[at].incarnation {
                *incarnation = servers[at].incarnation;
                *load = Arc::new(EndpointLoad::counting_towards(&self.total));
            }
            load.restore(now_us);
        }
        let candidate = |at: &usize| Candidate {
            endpoint: Arc::new(endpoint(*at, &servers[*at])),
            load: Arc::clone(&self.loads[*at].1),
        };
        self.candidates = self.servers.iter().map(candidate).collect();
        let fallback = match &self.subject {
            Subject::Builtin(policy) => *policy,
            Subject::Module { fallback, .. } => *fallback,
        };
        self.balancer = Balancer::new(fallback, Arc::clone(&self.candidates));
        self.renew(now_us);
    }

    /// A new instance for the present list, which goes on where the one before was.
    fn renew(&mut self, now_us: u64) {
        let Subject::Module { policy, .. } = &self.subject else { return };
        let before = self.instance.take().filter(|instance| !instance.is_dead());
        if self.candidates.is_empty() {
            return;
        }
        let snapshot = before
            .filter(|instance| instance.memory_bytes() <= MAX_SNAPSHOT_BYTES)
            .and_then(|mut instance| instance.snapshot());
        let renewed = match snapshot {
            Some(snapshot) => policy.revive(&self.about, &snapshot),
            None => policy.instance(&self.about),
        };
        let Ok(mut instance) = renewed else {
            self.refused_lists += 1;
            return;
        };
        self.generation += 1;
        let labels: Vec<Vec<(&str, &str)>> = self
            .candidates
            .iter()
            .map(|candidate| {
                let labels = candidate.endpoint.labels.iter();
                labels.map(|(name, value)| (name.as_str(), value.as_str())).collect()
            })
            .collect();
        let views: Vec<_> = self.candidates.iter().zip(&labels).map(|(it, labels)| view(it, labels, now_us)).collect();
        let live = Live { candidates: Arc::clone(&self.candidates), total: Arc::clone(&self.total), peers: self.peers };
        match instance.update(self.generation, now_us / 1000, &views, Box::new(live)) {
            Ok(()) => self.instance = Some(instance),
            Err(_) => self.refused_lists += 1,
        }
    }

    /// Chooses for a request, which counts as under way from now on. `tried` is where it has failed, the last one last; `onward` where
    /// the last choice wants it to go then. `Err` says why it goes nowhere.
    pub(super) fn pick(
        &mut self,
        offered: &Offered<'_>,
        random: u64,
        tried: &[usize],
        onward: Option<usize>,
        now_us: u64,
    ) -> Result<Picked, Why> {
        let place = |server: &usize| self.servers.iter().position(|it| it == server);
        let avoid: Vec<usize> = tried.iter().filter_map(place).collect();
        let request = PickRequest { random, key: offered.key(random), now_us, avoid: &avoid };
        if let Some(index) = onward.as_ref().and_then(place).filter(|index| self.takes_traffic(*index, &request)) {
            return Ok(self.picked(index, None, Why::Alternate, 0));
        }
        let why = match self.ask(offered, random, tried.len(), avoid.last().copied(), now_us) {
            Asked::Chosen { index, alternate, reason, tag } if self.balancer.accepts(index, &request) => {
                return Ok(self.picked(index, alternate, Why::Chosen(reason), tag));
            }
            Asked::Chosen { .. } => Why::Overridden,
            Asked::Rejected(reason) => return Err(Why::Rejected(reason)),
            Asked::Builtin(why) => why,
        };
        let index = self.balancer.pick(&self.cursor, &request).ok_or(Why::Nobody)?;
        Ok(self.picked(index, None, why, 0))
    }

    fn takes_traffic(&self, index: usize, request: &PickRequest<'_>) -> bool {
        let load = &self.candidates[index].load;
        !request.avoid.contains(&index) && !load.is_withdrawn() && !load.health().is_ejected(request.now_us)
    }

    fn picked(&self, index: usize, alternate: Option<usize>, why: Why, tag: u64) -> Picked {
        let candidate = &self.candidates[index];
        candidate.load.begin();
        Picked {
            server: self.servers[index],
            alternate: alternate.map(|index| self.servers[index]),
            why,
            tag,
            id: candidate.endpoint.id.0,
            load: Arc::clone(&candidate.load),
        }
    }

    fn ask(&mut self, offered: &Offered<'_>, random: u64, tried: usize, avoid: Option<usize>, now_us: u64) -> Asked {
        let Subject::Module { policy, .. } = &self.subject else { return Asked::Builtin(Why::Builtin) };
        if self.quarantine.is_active(now_us) {
            return Asked::Builtin(Why::Failed);
        }
        let Some(instance) = self.instance.as_mut() else { return Asked::Builtin(Why::Failed) };
        let request = Request {
            keys: policy.plan().keys(offered),
            random,
            now_ms: now_us / 1000,
            attempt: u32::try_from(tried).unwrap_or(u32::MAX),
            avoid: avoid.and_then(|index| u32::try_from(index).ok()),
            traits: Traits { http: true, ..Traits::default() },
        };
        match instance.pick(&request, offered) {
            Ok(decision) => match decision.choice {
                Choice::Endpoint(index) => Asked::Chosen {
                    index: index as usize,
                    alternate: decision.alternate.map(|index| index as usize),
                    reason: decision.reason,
                    tag: decision.tag,
                },
                Choice::Reject(_) => Asked::Rejected(decision.reason),
                Choice::Fallback | Choice::Hold(_) => Asked::Builtin(Why::Fallback),
            },
            Err(_) => {
                self.fault(now_us);
                Asked::Builtin(Why::Failed)
            }
        }
    }

    fn fault(&mut self, now_us: u64) {
        self.faults += 1;
        self.quarantine.fault(now_us);
        self.renew(now_us);
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, picked: &Picked, end: End, server: &Server, random: u64, now_us: u64) {
        let (load, rule) = (&picked.load, EjectionRule::default());
        load.end();
        load.observe(if end.failure == Some(Failure::Refused) { UNREACHABLE_US } else { end.latency_us }, now_us);
        match end.failure {
            // Whoever says that this is not for him is well.
            None | Some(Failure::NotServed) => load.health().succeeded(&rule, now_us),
            Some(Failure::Answered | Failure::Refused) => drop(load.health().failed(&rule, now_us, random)),
        }
        let Subject::Module { policy, .. } = &self.subject else { return };
        let is_answered = end.failure != Some(Failure::Refused);
        // What endpoints say of themselves comes with their answers.
        for (slot, want) in policy.plan().wants.iter().enumerate() {
            if let Want::Report(name) = want
                && is_answered
                && let Some(thousandths) = server.report(name)
            {
                load.report(slot, thousandths, now_us);
            }
        }
        let took_us = if is_answered { u32::try_from(end.latency_us).unwrap_or(u32::MAX) } else { 0 };
        let report = Report {
            endpoint_id: picked.id,
            tag: picked.tag,
            first_byte_us: took_us,
            total_us: took_us,
            status: match end.failure {
                None => 200,
                Some(Failure::Answered) => 503,
                Some(Failure::NotServed) => 421,
                Some(Failure::Refused) => 0,
            },
            outcome: Outcome {
                transport_error: !is_answered,
                server_error: end.failure == Some(Failure::Answered),
                ..Outcome::default()
            },
            now_ms: now_us / 1000,
        };
        if matches!(self.instance.as_mut().map(|instance| instance.completed(&report)), Some(Err(_))) {
            self.fault(now_us);
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// From sending.
    pub(super) latency_us: u64,
    pub(super) failure: Option<Failure>,
}

/// Why one failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody was there.
    Refused,
    /// The answer said so.
    Answered,
    /// The answer said that such requests are for somebody else.
    NotServed,
}

/// Values of a request, by word.
pub(super) struct Offered<'a> {
    pub(super) values: &'a BTreeMap<String, usize>,
    pub(super) draws: &'a BTreeMap<String, Draw>,
    /// The word that the built-in hash policies go by.
    pub(super) hash_by: &'a str,
}

impl Offered<'_> {
    /// What the built-in hash policies go by; chance where the request has nothing by that name.
    fn key(&self, random: u64) -> u64 {
        self.values.get(self.hash_by).map_or(random, |value| mix(*value as u64))
    }

    fn texts(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.draws.iter().filter_map(|(word, draw)| Some((word.as_str(), draw.text(*self.values.get(word)?))))
    }
}

impl RequestSource for Offered<'_> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        let word = word.to_string();
        let text = self.draws.get(&word)?.text(*self.values.get(&word)?);
        Some(Cow::Owned(text.into_owned().into_bytes()))
    }

    fn body(&self) -> Bytes {
        let texts: Vec<_> = self.texts().collect();
        body::of(texts.iter().map(|(word, text)| (*word, &**text))).into()
    }

    fn deadline_ms(&self) -> u32 {
        u32::MAX
    }
}

fn endpoint(number: usize, server: &Server) -> Endpoint {
    let [.., high, middle, low] = (number as u32).to_be_bytes();
    let (group, incarnation) = (&server.group, server.incarnation);
    let [.., third, fourth] = incarnation.to_be_bytes();
    let address: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, third, fourth, high, middle, low];
    Endpoint {
        // Spread over all bits, as identities are.
        id: EndpointId(mix((number as u64 + 1) << 32 | u64::from(incarnation))),
        port: "http".to_owned(),
        address: SocketAddr::from((address, 8080)),
        weight: group.weight,
        priority: group.priority,
        zone: group.zone.clone(),
        node: format!("node-{number}"),
        hostname: String::new(),
        labels: group.labels.clone(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    }
}
