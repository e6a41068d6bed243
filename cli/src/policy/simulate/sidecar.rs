//! One sidecar: what it believes of the endpoints, and the policy that it asks.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use wasmesh_core::{
    ejection::EjectionRule,
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    load::{EndpointLoad, TotalLoad},
    policy::{Balancer, BuiltinPolicy, Candidate, PickRequest},
};
use wasmesh_policy_host::{
    About, Choice, EndpointView, Health, Instance, Outcome, Policy, Report, Request, RequestSource, Traits, Want, Word,
};

use super::{random::mix, servers::Server};
use crate::policy::live::Live;

/// What chooses.
#[derive(Clone)]
pub(super) enum Subject {
    Builtin(BuiltinPolicy),
    Module { name: String, policy: Arc<Policy>, fallback: BuiltinPolicy },
}

impl Subject {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Builtin(policy) => policy.name(),
            Self::Module { name, .. } => name,
        }
    }
}

/// Whom a request goes to, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picked {
    pub(super) server: usize,
    /// An index into the plan's reasons; `None` where a built-in policy has chosen.
    pub(super) reason: Option<u32>,
    tag: u64,
}

/// A sidecar. It sees its own requests only.
pub(super) struct Sidecar {
    pub(super) zone: String,
    subject: Subject,
    candidates: Arc<[Candidate]>,
    /// The server of each candidate.
    servers: Vec<usize>,
    /// What it has seen of each server; it outlives a server's absence, as a pod that comes back is another one.
    loads: Vec<Arc<EndpointLoad>>,
    total: Arc<TotalLoad>,
    balancer: Balancer,
    cursor: Cell<u64>,
    instance: Option<Instance>,
    generation: u64,
    peers: u32,
    about: About,
    /// Faults of the module.
    pub(super) faults: u64,
}

impl Sidecar {
    pub(super) fn new(subject: &Subject, number: usize, zone: &str, peers: usize, servers: &[Server]) -> Self {
        let total = Arc::default();
        let loads = servers.iter().map(|_| Arc::new(EndpointLoad::counting_towards(&total))).collect();
        let about = [
            ("zone", zone.to_owned()),
            ("node", format!("node-{number}")),
            ("namespace", "default".to_owned()),
            ("proxy", format!("client-{number}")),
            ("worker", "0".to_owned()),
            ("workers", "1".to_owned()),
            ("service", "web.default".to_owned()),
            ("port", "80".to_owned()),
        ];
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
            generation: 0,
            peers: u32::try_from(peers).unwrap_or(u32::MAX),
            about: About(about.map(|(name, value)| (name.to_owned(), value)).into()),
            faults: 0,
        }
    }

    /// Learns who is there.
    ///
    /// # Errors
    /// The module does not take the list.
    pub(super) fn learn(&mut self, servers: &[Server], is_known: &[bool], now_us: u64) -> anyhow::Result<()> {
        self.servers = (0..servers.len()).filter(|at| is_known[*at]).collect();
        for (at, load) in self.loads.iter().enumerate() {
            if is_known[at] { load.restore(now_us) } else { load.withdraw() }
        }
        let candidate = |at: &usize| Candidate {
            endpoint: Arc::new(endpoint(*at, &servers[*at])),
            load: Arc::clone(&self.loads[*at]),
        };
        self.candidates = self.servers.iter().map(candidate).collect();
        let fallback = match &self.subject {
            Subject::Builtin(policy) => *policy,
            Subject::Module { fallback, .. } => *fallback,
        };
        self.balancer = Balancer::new(fallback, Arc::clone(&self.candidates));
        self.update(now_us)
    }

    fn update(&mut self, now_us: u64) -> anyhow::Result<()> {
        let Subject::Module { policy, .. } = &self.subject else { return Ok(()) };
        let mut instance = match self.instance.take() {
            Some(instance) if !instance.is_dead() => instance,
            _ => policy.instance(&self.about).context("no further instance can be made")?,
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
        let taken = instance.update(self.generation, now_us / 1000, &views, Box::new(live));
        taken.context("the policy does not take the list of endpoints")?;
        self.instance = Some(instance);
        Ok(())
    }

    /// Chooses for a request, which counts as under way from now on. `avoid` is where it has just failed.
    pub(super) fn pick(
        &mut self,
        offered: &Offered<'_>,
        random: u64,
        attempt: u32,
        avoid: Option<usize>,
        now_us: u64,
    ) -> Option<Picked> {
        let avoid = avoid.and_then(|server| self.servers.iter().position(|it| *it == server));
        let mut picked = self.by_module(offered, random, attempt, avoid, now_us);
        if picked.is_none() {
            let avoided: Vec<_> = avoid.into_iter().collect();
            let request = PickRequest { random, key: offered.key().unwrap_or(random), now_us, avoid: &avoided };
            let index = self.balancer.pick(&self.cursor, &request)?;
            picked = Some(Picked { server: self.servers[index], reason: None, tag: 0 });
        }
        let picked = picked?;
        self.loads[picked.server].begin();
        Some(picked)
    }

    fn by_module(
        &mut self,
        source: &dyn RequestSource,
        random: u64,
        attempt: u32,
        avoid: Option<usize>,
        now_us: u64,
    ) -> Option<Picked> {
        let Subject::Module { policy, .. } = &self.subject else { return None };
        let instance = self.instance.as_mut()?;
        let request = Request {
            keys: policy.plan().keys(source),
            random,
            now_ms: now_us / 1000,
            attempt,
            avoid: avoid.and_then(|index| u32::try_from(index).ok()),
            traits: Traits { http: true, ..Traits::default() },
        };
        let Ok(decision) = instance.pick(&request, source) else {
            self.faults += 1;
            // The built-in policy answers; a new instance is there for the next one.
            let _ = self.update(now_us);
            return None;
        };
        let Choice::Endpoint(index) = decision.choice else { return None };
        let avoided: Vec<_> = avoid.into_iter().collect();
        let pick = PickRequest { random, key: random, now_us, avoid: &avoided };
        let index = index as usize;
        let stands = self.balancer.accepts(index, &pick);
        stands.then(|| Picked { server: self.servers[index], reason: Some(decision.reason), tag: decision.tag })
    }

    /// A request has ended.
    pub(super) fn ended(&mut self, picked: &Picked, end: End, server: &Server, random: u64, now_us: u64) {
        let load = &self.loads[picked.server];
        load.end();
        let rule = EjectionRule::default();
        match end.failure {
            None => {
                load.observe(end.latency_us, now_us);
                load.health().succeeded(&rule, now_us);
            }
            Some(_) => drop(load.health().failed(&rule, now_us, random)),
        }
        if let Subject::Module { policy, .. } = &self.subject {
            let wants = policy.plan().wants.iter().enumerate();
            for (slot, _) in wants.filter(|(_, want)| matches!(want, Want::Report(_))) {
                load.report(slot, server.utilization(), now_us);
            }
            let report = Report {
                endpoint_id: id_of(picked.server),
                tag: picked.tag,
                first_byte_us: u32::try_from(end.latency_us).unwrap_or(u32::MAX),
                total_us: u32::try_from(end.latency_us).unwrap_or(u32::MAX),
                status: if end.failure.is_some() { 503 } else { 200 },
                outcome: Outcome {
                    transport_error: end.failure == Some(Failure::Refused),
                    server_error: end.failure == Some(Failure::Answered),
                    ..Outcome::default()
                },
                now_ms: now_us / 1000,
            };
            let told = self.instance.as_mut().map(|instance| instance.completed(&report));
            if matches!(told, Some(Err(_))) {
                self.faults += 1;
                let _ = self.update(now_us);
            }
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
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
}

/// Values of a request, by word.
pub(super) struct Offered<'a>(pub(super) &'a BTreeMap<String, usize>);

impl Offered<'_> {
    /// What the built-in hash policies go by: the first of the values.
    fn key(&self) -> Option<u64> {
        self.0.first_key_value().map(|(_, value)| mix(*value as u64))
    }
}

impl RequestSource for Offered<'_> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        let value = self.0.get(&word.to_string())?;
        Some(Cow::Owned(format!("value-{value}").into_bytes()))
    }

    fn body(&self) -> Bytes {
        Bytes::new()
    }

    fn deadline_ms(&self) -> u32 {
        u32::MAX
    }
}

/// Spread over all bits, as identities are.
fn id_of(server: usize) -> u64 {
    mix(server as u64 + 1)
}

fn endpoint(number: usize, server: &Server) -> Endpoint {
    let [.., high, middle, low] = (number as u32).to_be_bytes();
    let group = &server.group;
    Endpoint {
        id: EndpointId(id_of(number)),
        port: "http".to_owned(),
        address: SocketAddr::from(([10, high, middle, low], 8080)),
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

fn view<'a>(candidate: &'a Candidate, labels: &'a [(&'a str, &'a str)], now_us: u64) -> EndpointView<'a> {
    let endpoint = &*candidate.endpoint;
    let is_ejected = candidate.load.health().is_ejected(now_us);
    EndpointView {
        id: endpoint.id.0,
        address: endpoint.address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: &endpoint.node,
        health: if is_ejected { Health::Degraded } else { Health::Healthy },
        ready_ms: candidate.load.ready_us() / 1000,
        labels,
    }
}
