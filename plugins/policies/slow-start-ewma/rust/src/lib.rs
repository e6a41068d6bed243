//! Of two endpoints drawn by chance, the one that is expected to answer sooner, as Finagle's Peak EWMA does it; but whoever is
//! new is drawn more and more often over a while, and whoever fails costs more.
//!
//! `{"window-ms": N, "aggression": N, "least": N, "factor": N, "half-life-ms": N}`: how long an endpoint is new (30000); how
//! fast it rises, in percent of a straight line's exponent (100: straight; above, faster at first); what it begins with, in
//! percent (10); how many times as costly one is that only fails (20); how long until half of a failure is forgotten (5000).
//! The first three are Envoy's slow start.
//!
//! A cold endpoint that is as fast as the others at one request and slow at ten cannot be told by its latency before it has the
//! ten. So it is the draw that spares it, and what is known of its latency decides as with anybody else.

mod ramp;

use std::cell::Cell;

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update,
    config::{self, Fields},
    draw::Draw,
    levels::Levels,
    members::Members,
    random::mix,
    stats,
};
use wasmesh_policy_feedback::{
    Feedback, Report,
    penalty::{ALL, Penalties},
};

use ramp::Ramp;

const REASONS: [&str; 4] = ["cheaper-of-two", "spared-new", "only-one-usable", "stand-in"];
const CHEAPER: u32 = 0;
const SPARED: u32 = 1;
const ONLY_ONE: u32 = 2;
const STAND_IN: u32 = 3;

struct SlowStartEwma {
    ramp: Ramp,
    factor: u64,
    levels: Levels<Draw>,
    /// By index: since when it has been there.
    ready_ms: Vec<u64>,
    penalties: Penalties,
}

/// Two are drawn so many times at most until one of them takes part.
const DRAWS: usize = 5;

const USAGE: &str =
    r#"{"window-ms": NUMBER, "aggression": NUMBER, "least": 1 to 100, "factor": NUMBER, "half-life-ms": NUMBER}"#;

struct Config {
    ramp: Ramp,
    factor: u32,
    half_life_ms: u32,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        let aggression = fields.number("aggression")?.unwrap_or(100);
        let least = fields.number("least")?.unwrap_or(10);
        let half_life_ms = fields.number("half-life-ms")?.unwrap_or(5_000);
        if aggression == 0 || half_life_ms == 0 {
            return Err("aggression and half-life-ms must be at least 1".to_owned());
        }
        if !(1..=100).contains(&least) {
            return Err(format!("least is {least}, but a new endpoint begins with 1 to 100 percent"));
        }
        let ramp = Ramp::new(fields.number("window-ms")?.unwrap_or(30_000), aggression, least);
        Ok(Self { ramp, factor: fields.number("factor")?.unwrap_or(20), half_life_ms })
    }
}

impl Policy for SlowStartEwma {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let Config { ramp, factor, half_life_ms } = config::read(text, USAGE, Config::take)?;
        let penalties = Penalties::new(half_life_ms.into());
        let policy = Self { ramp, factor: factor.into(), levels: Levels::default(), ready_ms: Vec::new(), penalties };
        Ok((policy, Plan::with_reasons(&REASONS)))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.levels = Levels::new(&update.endpoints);
        self.ready_ms = update.endpoints.iter().map(|endpoint| endpoint.ready_ms).collect();
        self.penalties.set_endpoints(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let reason = Cell::new(STAND_IN);
        let choose = |draw: &Draw, members: &Members| {
            let (position, why) = self.choose(draw, members, request)?;
            reason.set(why);
            Ok(position)
        };
        match self.levels.pick_usable_by(request, choose) {
            Some((index, _)) => Decision::endpoint(index).because(reason.get()),
            None => Decision::fallback(),
        }
    }
}

impl Feedback for SlowStartEwma {
    fn completed(&mut self, report: Report) {
        self.penalties.observe(&report);
    }
}

impl SlowStartEwma {
    /// A position and why; `Err` with one that is not usable.
    fn choose(&self, draw: &Draw, members: &Members, request: &Request) -> Result<(usize, u32), usize> {
        // The same for all: so of two that are equally new both take part in this pick, or none does.
        let point = mix(!request.random);
        let takes_part = |position| self.ramp.admits(self.age_ms(members.index(position), request), point);
        let mut random = request.random;
        let mut is_spared = false;
        for _ in 1..DRAWS {
            let (first, second) = draw.pair(random);
            let is_in = |position| members.is_usable(position, request) && takes_part(position);
            match (is_in(first), is_in(second)) {
                (true, true) if is_spared => return Ok((self.cheaper(members, first, second, request), SPARED)),
                (true, true) => return Ok((self.cheaper(members, first, second, request), CHEAPER)),
                (true, false) => return Ok((first, if takes_part(second) { ONLY_ONE } else { SPARED })),
                (false, true) => return Ok((second, if takes_part(first) { ONLY_ONE } else { SPARED })),
                (false, false) => is_spared = true,
            }
            random = mix(random);
        }
        // Nearly everybody is new, or down: then nobody is spared.
        let (first, second) = draw.pair(random);
        match [first, second].map(|position| members.is_usable(position, request)) {
            [true, true] => Ok((self.cheaper(members, first, second, request), CHEAPER)),
            [true, false] => Ok((first, ONLY_ONE)),
            [false, true] => Ok((second, ONLY_ONE)),
            [false, false] => Err(first),
        }
    }

    fn age_ms(&self, index: u32, request: &Request) -> Option<u64> {
        let ready_ms = self.ready_ms[index as usize];
        (ready_ms > 0).then(|| request.now_ms.saturating_sub(ready_ms))
    }

    fn cheaper(&self, members: &Members, first: usize, second: usize, request: &Request) -> usize {
        let [one, other] = [first, second].map(|position| {
            let index = members.index(position);
            Seen {
                latency_us: stats::latency_us(index),
                in_flight: stats::in_flight(index),
                weight: members.weight(position),
                failing: self.penalties.of(index, request.now_ms),
            }
        });
        if other.cost(&one, self.factor) < one.cost(&other, self.factor) { second } else { first }
    }
}

/// What there is to go by.
struct Seen {
    latency_us: u32,
    in_flight: u32,
    weight: u32,
    /// Of [`ALL`].
    failing: u64,
}

impl Seen {
    /// What to expect of one, compared with the other.
    ///
    /// Who has not been measured is taken to be as fast as the other: so it is neither shunned nor sought, and gets what its
    /// requests under way leave it. And who fails more is no faster than the other however fast it fails.
    fn cost(&self, other: &Self, factor: u64) -> f64 {
        let latency_us = if self.latency_us == 0 || self.failing > other.failing {
            self.latency_us.max(other.latency_us)
        } else {
            self.latency_us
        };
        let load = f64::from(self.in_flight) + 1.0;
        f64::from(latency_us.max(1)) * load / f64::from(self.weight) * (ALL + factor * self.failing) as f64
    }
}

wasmesh_policy::export!(SlowStartEwma);
wasmesh_policy_feedback::export!(SlowStartEwma);
