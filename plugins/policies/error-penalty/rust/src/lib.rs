//! Steers away from endpoints whose answers were errors, by the reports it got. Of two endpoints drawn by chance, the one
//! with the lower cost: requests under way, times a penalty for recent errors.
//!
//! `{"factor": N, "half-life-ms": N}`: how many times as costly an endpoint is that only fails (20); how long until half
//! of a penalty is forgotten without new reports (5000).

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update,
    config::{self, Fields},
    draw::Draw,
    members::Members,
    stats,
};
use wasmesh_policy_feedback::{
    Feedback, Report,
    penalty::{ALL, Penalties},
};

const REASONS: [&str; 2] = ["cheaper-of-two", "only-one-usable"];

struct ErrorPenalty {
    factor: u64,
    members: Members,
    draw: Draw,
    penalties: Penalties,
}

const USAGE: &str = r#"{"factor": NUMBER, "half-life-ms": NUMBER}"#;

struct Config {
    factor: Option<u32>,
    half_life_ms: Option<u32>,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self { factor: fields.number("factor")?, half_life_ms: fields.number("half-life-ms")? })
    }
}

impl Policy for ErrorPenalty {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let config = config::read(text, USAGE, Config::take)?;
        let half_life_ms = u64::from(config.half_life_ms.unwrap_or(5_000));
        if half_life_ms == 0 {
            return Err("config: half-life-ms must be at least 1".to_owned());
        }
        let members = Members::among(&[], &|_| true);
        let draw = Draw::new(&members);
        let factor = u64::from(config.factor.unwrap_or(20));
        let policy = Self { factor, members, draw, penalties: Penalties::new(half_life_ms) };
        Ok((policy, Plan::with_reasons(&REASONS)))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.penalties.set_endpoints(&update.endpoints);
        self.members = Members::among(&update.endpoints, &|_| true);
        self.draw = Draw::new(&self.members);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if self.members.is_empty() {
            return Decision::fallback();
        }
        let (first, second) = self.draw.pair(request.random);
        let usable = |position| self.members.is_usable(position, request);
        let (position, reason) = match (usable(first), usable(second)) {
            (true, true) if self.cost(second, request) < self.cost(first, request) => (second, 0),
            (true, true) => (first, 0),
            (true, false) => (first, 1),
            (false, true) => (second, 1),
            (false, false) => return Decision::fallback().because(1),
        };
        Decision::endpoint(position as u32).because(reason)
    }
}

impl Feedback for ErrorPenalty {
    fn completed(&mut self, report: Report) {
        self.penalties.observe(&report);
    }
}

impl ErrorPenalty {
    fn cost(&self, position: usize, request: &Request) -> u64 {
        let index = self.members.index(position);
        let load = u64::from(stats::in_flight(index)) + 1;
        load.saturating_mul(ALL + self.factor * self.penalties.of(index, request.now_ms))
    }
}

wasmesh_policy::export!(ErrorPenalty);
wasmesh_policy_feedback::export!(ErrorPenalty);
