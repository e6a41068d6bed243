//! The simulation: events in the order of their time, and nothing else moves the clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use fastrand::Rng;

use super::{
    outcome::Outcome,
    random::{Draw, gap_us, share, stream, work},
    scenario::Scenario,
    servers::{Begun, Job, Server},
    sidecar::{End, Failure, Offered, Picked, Sidecar, Subject},
};

/// How often a request is tried when nobody is there, as a sidecar does.
const ATTEMPTS: usize = 5;

/// What each stream of random numbers is for.
const ARRIVALS: u64 = 1;
const PICKS: u64 = 2;
const DELAYS: u64 = 3;

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
    /// When the present attempt began.
    sent_us: u64,
    /// Where nobody was.
    tried: Vec<usize>,
    work: f64,
    luck: f64,
    /// It takes so many times as long for what its keys are.
    slower: f64,
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
    /// When the next request comes: its fractions of a microsecond are kept.
    next_us: f64,
    outcome: Outcome,
}

/// Simulates a scenario with one policy. `seconds` of it are kept for a picture.
pub(super) fn simulate(scenario: &Scenario, seed: u64, subject: &Subject, seconds: usize) -> Outcome {
    let servers = Server::all(scenario);
    let clients = &scenario.clients;
    let zone = |at: usize| clients.zones.get(at % clients.zones.len().max(1)).map_or("", String::as_str);
    let mut sidecars: Vec<_> =
        (0..clients.sidecars).map(|at| Sidecar::new(subject, at, zone(at), clients.sidecars, &servers)).collect();
    let present: Vec<_> = servers.iter().map(|server| server.is_present).collect();
    let known = vec![present; sidecars.len()];
    for (sidecar, known) in sidecars.iter_mut().zip(&known) {
        sidecar.learn(&servers, known, 0);
    }
    let mut world = World {
        scenario,
        now_us: 0,
        sequence: 0,
        agenda: BinaryHeap::new(),
        outcome: Outcome::new(&subject.name(), servers.len(), seconds),
        servers,
        sidecars,
        known,
        flights: Vec::new(),
        free: Vec::new(),
        draws: clients.keys.iter().map(|(word, values)| (word.clone(), Draw::new(values))).collect(),
        arrivals: stream(seed, ARRIVALS),
        picks: stream(seed, PICKS),
        next_us: 0.0,
    };
    // Each sidecar's own, always the same: what happens first is heard first.
    let mut delays = stream(seed, DELAYS);
    let most_us = scenario.network.membership_delay * 1e3;
    let delays_us: Vec<u64> = world.sidecars.iter().map(|_| (share(&mut delays) * most_us) as u64).collect();
    for (at, event) in scenario.events.iter().enumerate() {
        let happens_us = (event.at * 1e6) as u64;
        world.plan_at(happens_us, Moment::Event(at));
        if event.present.is_some() {
            for (sidecar, delay_us) in delays_us.iter().enumerate() {
                world.plan_at(happens_us + delay_us, Moment::Heard { sidecar, event: at });
            }
        }
    }
    world.expect_arrival();
    world.run();
    let World { mut outcome, servers, sidecars, .. } = world;
    outcome.taken = servers.iter().map(|server| server.taken).collect();
    outcome.faults = sidecars.iter().map(|sidecar| sidecar.faults).sum();
    outcome.refused_lists = sidecars.iter().map(|sidecar| sidecar.refused_lists).sum();
    outcome
}

impl World<'_> {
    fn plan(&mut self, after_us: u64, moment: Moment) {
        self.plan_at(self.now_us + after_us, moment);
    }

    fn plan_at(&mut self, at_us: u64, moment: Moment) {
        self.sequence += 1;
        self.agenda.push(Reverse((at_us, moment, self.sequence)));
    }

    fn run(&mut self) {
        let end_us = (self.scenario.seconds * 1e6) as u64;
        while let Some(Reverse((at_us, moment, _))) = self.agenda.pop() {
            self.now_us = at_us;
            match moment {
                // What is under way at the end is still answered.
                Moment::Arrival if at_us >= end_us => {}
                Moment::Arrival => self.arrive(),
                Moment::Event(event) => {
                    let event = &self.scenario.events[event];
                    event.endpoints.iter().for_each(|server| self.servers[*server].suffer(event, at_us));
                }
                Moment::Heard { sidecar, event } => {
                    let event = &self.scenario.events[event];
                    let known = &mut self.known[sidecar];
                    event.endpoints.iter().for_each(|server| known[*server] = event.present.unwrap_or(true));
                    self.sidecars[sidecar].learn(&self.servers, &self.known[sidecar], at_us);
                }
                Moment::Reached(flight) => self.reach(flight),
                Moment::Done { server, request } => self.done(server, request),
                Moment::Answered(flight) => self.answer(flight),
            }
        }
    }

    fn expect_arrival(&mut self) {
        self.next_us += gap_us(&mut self.arrivals, self.scenario.clients.requests_per_second);
        self.plan_at(self.next_us as u64, Moment::Arrival);
    }

    fn arrive(&mut self) {
        self.expect_arrival();
        let sidecar = self.arrivals.usize(..self.sidecars.len());
        let (work, luck) = (work(&mut self.arrivals), share(&mut self.arrivals));
        let keys: BTreeMap<_, _> =
            self.draws.iter().map(|(word, draw)| (word.clone(), draw.next(&mut self.arrivals))).collect();
        let slower = self.draws.values().zip(keys.values()).map(|(draw, value)| draw.slower(*value)).product();
        let flight = Flight {
            sidecar,
            began_us: self.now_us,
            sent_us: self.now_us,
            tried: Vec::new(),
            work,
            luck,
            slower,
            keys,
            picked: None,
            failure: None,
            hit: None,
        };
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
        self.send(at);
    }

    fn send(&mut self, at: usize) {
        let random = self.picks.u64(..);
        let Some(flight) = self.flights[at].as_mut() else { return };
        let sidecar = &mut self.sidecars[flight.sidecar];
        let onward = flight.picked.as_ref().and_then(|picked| picked.alternate);
        let offered = Offered { values: &flight.keys, draws: &self.draws, hash_by: &self.scenario.clients.hash_by };
        flight.sent_us = self.now_us;
        match sidecar.pick(&offered, random, &flight.tried, onward, self.now_us) {
            Ok(picked) => {
                let server = picked.server;
                flight.picked = Some(picked);
                let way_us = self.way_us(at, server);
                self.plan(way_us, Moment::Reached(at));
            }
            Err(why) => {
                self.outcome.unanswered(why);
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
        let Some(flight) = self.flights[at].as_mut() else { return };
        let Some(number) = flight.picked.as_ref().map(|picked| picked.server) else { return };
        let server = &mut self.servers[number];
        if !server.is_present {
            flight.failure = Some(Failure::Refused);
            let way_us = self.way_us(at, number);
            self.plan(way_us, Moment::Answered(at));
            return;
        }
        let value = server.group.cache.as_ref().and_then(|cache| flight.keys.get(&cache.key)).copied();
        let is_served = |(word, values): (&String, &Vec<String>)| {
            let value = flight.keys.get(word).zip(self.draws.get(word));
            value.is_some_and(|(value, draw)| values.iter().any(|served| *served == draw.text(*value)))
        };
        let served = server.group.serves.iter().all(is_served);
        let Flight { work, luck, slower, .. } = *flight;
        let begun = server.take(Job { request: at, work, luck, value, slower, served }, self.now_us);
        self.begin(number, begun);
    }

    fn begin(&mut self, server: usize, begun: Option<Begun>) {
        let Some(Begun { request, takes_us, failure, hit }) = begun else { return };
        if let Some(flight) = self.flights[request].as_mut() {
            flight.failure = failure;
            flight.hit = hit;
        }
        self.plan(takes_us, Moment::Done { server, request });
    }

    fn done(&mut self, server: usize, request: usize) {
        let way_us = self.way_us(request, server);
        self.plan(way_us, Moment::Answered(request));
        let next = self.servers[server].done(self.now_us);
        self.begin(server, next);
    }

    fn answer(&mut self, at: usize) {
        let random = self.picks.u64(..);
        let Some(flight) = self.flights[at].as_mut() else { return };
        let Some(picked) = flight.picked.clone() else { return };
        let end = End { latency_us: self.now_us - flight.sent_us, failure: flight.failure };
        self.outcome.under_way_us[picked.server] += end.latency_us;
        let sidecar = &mut self.sidecars[flight.sidecar];
        sidecar.ended(&picked, end, &self.servers[picked.server], random, self.now_us);
        if end.failure == Some(Failure::Refused) {
            flight.tried.push(picked.server);
            if flight.tried.len() < ATTEMPTS {
                flight.failure = None;
                self.send(at);
                return;
            }
        }
        // To the client it is all one.
        let end = End { latency_us: self.now_us - flight.began_us, ..end };
        let hit = flight.hit;
        let is_cross_zone = self.is_cross_zone(at, picked.server);
        self.outcome.answered(self.now_us, end, picked.why, is_cross_zone, hit);
        self.land(at);
    }

    fn land(&mut self, at: usize) {
        self.flights[at] = None;
        self.free.push(at);
    }
}
