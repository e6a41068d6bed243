//! For servers of language models: prompts that begin alike go where that beginning has been read already, and is in the
//! cache of keys and values (KV cache). A beginning that everybody's prompt has must not sink its endpoint: what exceeds the
//! endpoint's share of requests under way, or of what waits in line there by its own word, goes elsewhere.
//!
//! `{"key": WORD, "report": NAME, "queue": N, "percent": N, "at-least": N}`: where the beginning is, a word as in `Plan::keys`
//! (by default `json:/messages/0/content#256`, and where there is none, `json:/prompt#256`); the name under which endpoints
//! report how many requests wait (`num_requests_waiting`, as vLLM does); how many may wait in any case (4); how much an
//! endpoint may have of either, in percent of its share (150); how many requests of this proxy it may have in any case (8).
//! The policy object must allow `Body`.
//!
//! vLLM reports with an answer that is not streamed, and only if the request has the header
//! `endpoint-load-metrics-format: TEXT`. Without reports the requests under way decide.

use std::cell::OnceCell;

use wasmesh_policy::{
    Decision, Label, NOTHING, Plan, Policy, Request, Traits, Update,
    bounded::{Bound, Bounded, REASONS},
    config::{self, Fields},
    levels::Levels,
    random::{below, mix},
    stats,
    two_choices::TwoChoices,
};

/// Behind the places.
const NO_PREFIX: u32 = REASONS.len() as u32;

/// A report of a long line keeps requests away, and without requests there is no other report until this one is forgotten.
/// One request in so many goes home all the same, and finds out.
const CURIOSITY: u64 = 16;

/// To ask about so many endpoints, or twice as many, is well within a pick's budget.
const SAMPLE: u32 = 512;

struct PrefixAffinity {
    prefixes: Bounded,
    /// For requests without a prompt.
    all: Levels<TwoChoices>,
    endpoints: u32,
    percent: u32,
    /// So many may wait anywhere, in thousandths as reports are.
    queue: u32,
}

const USAGE: &str =
    r#"{"key": WORD, "report": NAME, "queue": NUMBER, "percent": NUMBER above 100, "at-least": NUMBER}"#;

struct Config {
    keys: Vec<String>,
    report: String,
    queue: u32,
    bound: Bound,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        let key = fields.string("key")?;
        let chat_or_text = || ["json:/messages/0/content#256", "json:/prompt#256"].map(str::to_owned).into();
        let report = fields.string("report")?.unwrap_or_else(|| "num_requests_waiting".to_owned());
        let percent = fields.number("percent")?.unwrap_or(150);
        if percent <= 100 {
            return Err(format!("percent is {percent}, but all requests need more room than they fill: above 100"));
        }
        Ok(Self {
            keys: key.map_or_else(chat_or_text, |key| vec![key]),
            report,
            queue: fields.number("queue")?.unwrap_or(4),
            bound: Bound { percent, at_least: fields.number("at-least")?.unwrap_or(8) },
        })
    }
}

impl Policy for PrefixAffinity {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let Config { keys, report, queue, bound } = config::read(text, USAGE, Config::take)?;
        let policy = Self {
            prefixes: Bounded::new(bound),
            all: Levels::default(),
            endpoints: 0,
            percent: bound.percent,
            queue: queue.saturating_mul(1000),
        };
        let reasons = [&REASONS[..], &["no-prefix"]].concat();
        Ok((policy, Plan { keys, wants: vec![format!("report:{report}")], ..Plan::with_reasons(&reasons) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.prefixes.set_endpoints(&update.endpoints);
        self.all = Levels::new(&update.endpoints);
        self.endpoints = update.endpoints.len() as u32;
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let picked = match prefix(request) {
            Some(prefix) => self.by_prefix(request, prefix),
            None => self.all.pick_usable(request, &mut 0).map(|(index, _)| (index, NO_PREFIX)),
        };
        match picked {
            Some((index, reason)) => Decision::endpoint(index).because(reason),
            None => Decision::fallback(),
        }
    }
}

impl PrefixAffinity {
    fn by_prefix(&self, request: &Request, prefix: u64) -> Option<(u32, u32)> {
        let is_curious = below(mix(request.random), CURIOSITY) == 0;
        // Looked for at most once a pick, and only if somebody has a line at all.
        let mean = OnceCell::new();
        let is_full = |index| {
            let here = waiting(index);
            !is_curious
                && here > self.queue
                && u64::from(here) * 100 > u64::from(self.percent) * *mean.get_or_init(|| self.mean_waiting())
        };
        let (index, place) = self.prefixes.pick(request, prefix, is_full)?;
        Some((index, place as u32))
    }

    /// How many wait at an endpoint on average, in thousandths; of very many endpoints, at some of them.
    fn mean_waiting(&self) -> u64 {
        let some = || (0..self.endpoints).step_by((self.endpoints / SAMPLE).max(1) as usize);
        some().map(waiting).map(u64::from).sum::<u64>() / some().count().max(1) as u64
    }
}

/// How many wait there, in thousandths. Who says nothing is taken for idle: it is asked, and its answer says how it is. Where
/// nobody says anything, nobody is full.
fn waiting(index: u32) -> u32 {
    match stats::reported(index, 0) {
        NOTHING => 0,
        waiting => waiting,
    }
}

/// The hash of the prompt's beginning; none without a prompt that is a text.
fn prefix(request: &Request) -> Option<u64> {
    if request.traits.contains(Traits::KEY0) {
        return Some(request.key0);
    }
    request.traits.contains(Traits::KEY1).then_some(request.key1)
}

wasmesh_policy::export!(PrefixAffinity);
