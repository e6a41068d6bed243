//! The simulation: events in the order of their time, and nothing else moves the clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use fastrand::Rng;

use super::{
    outcome::Outcome,
    random::{Draw, gap_us, stream, work},
    scenario::Scenario,
    servers::{Begun, Job, Server},
    sidecar::{End, Failure, Offered, Picked, Sidecar, Subject},
};

/// How often a request is tried when nobody is there, as a sidecar does.
const ATTEMPTS: u32 = 3;

/// What each stream of random numbers is for.
const ARRIVALS: u64 = 1;
const PICKS: u64 = 2;
const SERVERS: u64 = 3;
const DELAYS: u64 = 4;

/// Something that happens. The order of the variants is that of what happens at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// An event of the scenario.
    Event(usize),
    /// A sidecar hears of one.
    Heard { sidecar: usize, event: usize },
    /// A request is done at its server.
    Done { server: usize, request: usize },
    /// A request reaches its server.
    Reached(usize),
    /// Its answer reaches the sidecar.
    Answered(usize),
    /// A request comes.
    Arrival,
}

/// A request under way.
struct Flight {
    sidecar: usize,
    began_us: u64,
    attempt: u32,
    work: f64,
    keys: BTreeMap<String, usize>,
    picked: Option<Picked>,
    failure: Option<Failure>,
    hit: Option<bool>,
}

struct World<'a> {
    scenario: &'a Scenario,
    now_us: u64,
    sequence: u64,
    agenda: BinaryHeap<Reverse<(u64, Moment, u64)>>,
    servers: Vec<Server>,
    sidecars: Vec<Sidecar>,
    /// Who each sidecar believes is there.
    known: Vec<Vec<bool>>,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    draws: BTreeMap<String, Draw>,
    arrivals: Rng,
    picks: Rng,
    serving: Rng,
    outcome: Outcome,
}

/// Simulates a scenario with one policy.
///
/// # Errors
/// The policy takes no list.
pub(super) fn simulate(scenario: &Scenario, seed: u64, subject: &Subject) -> anyhow::Result<Outcome> {
    let servers = Server::all(scenario);
    let clients = &scenario.clients;
    let zone = |at: usize| clients.zones.get(at % clients.zones.len().max(1)).map_or("", String::as_str);
    let mut sidecars: Vec<_> =
        (0..clients.sidecars).map(|at| Sidecar::new(subject, at, zone(at), clients.sidecars, &servers)).collect();
    let known = vec![vec![true; servers.len()]; sidecars.len()];
    for (sidecar, known) in sidecars.iter_mut().zip(&known) {
        sidecar.learn(&servers, known, 0)?;
    }
    let mut world = World {
        scenario,
        now_us: 0,
        sequence: 0,
        agenda: BinaryHeap::new(),
        outcome: Outcome::new(subject.name(), servers.len()),
        servers,
        sidecars,
        known,
        flights: Vec::new(),
        free: Vec::new(),
        draws: clients.keys.iter().map(|(word, values)| (word.clone(), Draw::new(values))).collect(),
        arrivals: stream(seed, ARRIVALS),
        picks: stream(seed, PICKS),
        serving: stream(seed, SERVERS),
    };
    let mut delays = stream(seed, DELAYS);
    for (at, event) in scenario.events.iter().enumerate() {
        let happens_us = (event.at * 1e6) as u64;
        world.plan_at(happens_us, Moment::Event(at));
        if event.present.is_some() {
            for sidecar in 0..world.sidecars.len() {
                let delay_us = (delays.f64() * scenario.network.membership_delay * 1e3) as u64;
                world.plan_at(happens_us + delay_us, Moment::Heard { sidecar, event: at });
            }
        }
    }
    world.plan(0, Moment::Arrival);
    world.run()?;
    let World { mut outcome, servers, sidecars, .. } = world;
    outcome.taken = servers.iter().map(|server| server.taken).collect();
    outcome.faults = sidecars.iter().map(|sidecar| sidecar.faults).sum();
    Ok(outcome)
}

impl World<'_> {
    fn plan(&mut self, after_us: u64, moment: Moment) {
        self.plan_at(self.now_us + after_us, moment);
    }

    fn plan_at(&mut self, at_us: u64, moment: Moment) {
        self.sequence += 1;
        self.agenda.push(Reverse((at_us, moment, self.sequence)));
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let end_us = (self.scenario.seconds * 1e6) as u64;
        while let Some(Reverse((at_us, moment, _))) = self.agenda.pop() {
            self.now_us = at_us;
            match moment {
                // What is under way at the end is still answered.
                Moment::Arrival if at_us >= end_us => {}
                Moment::Arrival => self.arrive(),
                Moment::Event(event) => {
                    let event = &self.scenario.events[event];
                    event.endpoints.iter().for_each(|server| self.servers[*server].suffer(event));
                }
                Moment::Heard { sidecar, event } => {
                    let event = &self.scenario.events[event];
                    let known = &mut self.known[sidecar];
                    event.endpoints.iter().for_each(|server| known[*server] = event.present.unwrap_or(true));
                    self.sidecars[sidecar].learn(&self.servers, &self.known[sidecar], at_us)?;
                }
                Moment::Reached(flight) => self.reach(flight),
                Moment::Done { server, request } => self.done(server, request),
                Moment::Answered(flight) => self.answer(flight),
            }
        }
        Ok(())
    }

    fn arrive(&mut self) {
        let gap = gap_us(&mut self.arrivals, self.scenario.clients.requests_per_second);
        self.plan(gap, Moment::Arrival);
        let sidecar = self.arrivals.usize(..self.sidecars.len());
        let work = work(&mut self.arrivals);
        let keys = self.draws.iter().map(|(word, draw)| (word.clone(), draw.next(&mut self.arrivals))).collect();
        let flight =
            Flight { sidecar, began_us: self.now_us, attempt: 0, work, keys, picked: None, failure: None, hit: None };
        let at = match self.free.pop() {
            Some(at) => {
                self.flights[at] = Some(flight);
                at
            }
            None => {
                self.flights.push(Some(flight));
                self.flights.len() - 1
            }
        };
        self.send(at, None);
    }

    fn send(&mut self, at: usize, avoid: Option<usize>) {
        let random = self.picks.u64(..);
        let Some(flight) = self.flights[at].as_mut() else { return };
        let sidecar = &mut self.sidecars[flight.sidecar];
        let picked = sidecar.pick(&Offered(&flight.keys), random, flight.attempt, avoid, self.now_us);
        flight.picked = picked;
        match picked {
            Some(picked) => {
                let way_us = self.way_us(at, picked.server);
                self.plan(way_us, Moment::Reached(at));
            }
            None => {
                self.outcome.errors += 1;
                self.land(at);
            }
        }
    }

    /// One way from a flight's sidecar to a server.
    fn way_us(&self, at: usize, server: usize) -> u64 {
        let network = &self.scenario.network;
        let there_and_back = if self.is_cross_zone(at, server) { network.cross_zone } else { network.same_zone };
        (there_and_back * 500.0).round() as u64
    }

    fn is_cross_zone(&self, at: usize, server: usize) -> bool {
        let from = self.flights[at].as_ref().map_or("", |flight| self.sidecars[flight.sidecar].zone.as_str());
        let to = self.servers[server].group.zone.as_str();
        !from.is_empty() && !to.is_empty() && from != to
    }

    fn reach(&mut self, at: usize) {
        let Some((picked, flight)) = self.flights[at].as_mut().and_then(|flight| Some((flight.picked?, flight))) else {
            return;
        };
        let server = &mut self.servers[picked.server];
        if !server.is_present {
            flight.failure = Some(Failure::Refused);
            let way_us = self.way_us(at, picked.server);
            self.plan(way_us, Moment::Answered(at));
            return;
        }
        let value = server.group.cache.as_ref().and_then(|cache| flight.keys.get(&cache.key)).copied();
        let job = Job { request: at, work: flight.work, value };
        let begun = server.take(job, &mut self.serving);
        self.begin(picked.server, begun);
    }

    fn begin(&mut self, server: usize, begun: Option<Begun>) {
        let Some(Begun { request, takes_us, failed, hit }) = begun else { return };
        if let Some(flight) = self.flights[request].as_mut() {
            flight.failure = failed.then_some(Failure::Answered);
            flight.hit = hit;
        }
        self.plan(takes_us, Moment::Done { server, request });
    }

    fn done(&mut self, server: usize, request: usize) {
        let way_us = self.way_us(request, server);
        self.plan(way_us, Moment::Answered(request));
        let next = self.servers[server].done(&mut self.serving);
        self.begin(server, next);
    }

    fn answer(&mut self, at: usize) {
        let random = self.picks.u64(..);
        let Some((picked, flight)) = self.flights[at].as_mut().and_then(|flight| Some((flight.picked?, flight))) else {
            return;
        };
        let end = End { latency_us: self.now_us - flight.began_us, failure: flight.failure };
        let sidecar = &mut self.sidecars[flight.sidecar];
        sidecar.ended(&picked, end, &self.servers[picked.server], random, self.now_us);
        if end.failure == Some(Failure::Refused) && flight.attempt + 1 < ATTEMPTS {
            flight.attempt += 1;
            flight.failure = None;
            self.send(at, Some(picked.server));
            return;
        }
        let hit = flight.hit;
        let is_cross_zone = self.is_cross_zone(at, picked.server);
        self.outcome.answered(self.now_us, end, picked.reason, is_cross_zone, hit);
        self.land(at);
    }

    fn land(&mut self, at: usize) {
        self.flights[at] = None;
        self.free.push(at);
    }
}
