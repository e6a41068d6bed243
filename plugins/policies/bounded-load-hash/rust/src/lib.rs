//! A key stays on its endpoint, but no endpoint has much more under way than its share: for caches with a few very popular
//! keys.
//!
//! `{"key": WORD, "percent": N, "at-least": N}`: what to hash by, a word as in `Plan::keys` (`"path"`); how much an
//! endpoint may have under way, in percent of its share (125: a quarter more); and how many requests it may have in any case
//! (1). A request without the key goes to the less loaded of any two endpoints.
//!
//! A sidecar counts its own requests. Many sidecars with few requests each keep little of the bound: of three requests under
//! way, one is more than a share.

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Traits, Update,
    bounded::{Bound, Bounded, REASONS},
    config::{self, Fields},
    levels::Levels,
    two_choices::TwoChoices,
};

/// Behind the places.
const NO_KEY: u32 = REASONS.len() as u32;

struct BoundedLoadHash {
    keyed: Bounded,
    /// For requests without the key.
    all: Levels<TwoChoices>,
}

const USAGE: &str = r#"{"key": WORD, "percent": NUMBER above 100, "at-least": NUMBER}"#;

struct Config {
    key: String,
    bound: Bound,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        let key = fields.string("key")?.unwrap_or_else(|| "path".to_owned());
        let percent = fields.number("percent")?.unwrap_or(125);
        if percent <= 100 {
            return Err(format!("percent is {percent}, but all requests need more room than they fill: above 100"));
        }
        Ok(Self { key, bound: Bound { percent, at_least: fields.number("at-least")?.unwrap_or(1) } })
    }
}

impl Policy for BoundedLoadHash {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let Config { key, bound } = config::read(text, USAGE, Config::take)?;
        let reasons = [&REASONS[..], &["no-key"]].concat();
        let policy = Self { keyed: Bounded::new(bound), all: Levels::default() };
        Ok((policy, Plan { keys: vec![key], ..Plan::with_reasons(&reasons) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.keyed.set_endpoints(&update.endpoints);
        self.all = Levels::new(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let picked = if request.traits.contains(Traits::KEY0) {
            let picked = self.keyed.pick(request, request.key0, |_| false);
            picked.map(|(index, place)| (index, place as u32))
        } else {
            self.all.pick_usable(request, &mut 0).map(|(index, _)| (index, NO_KEY))
        };
        match picked {
            Some((index, reason)) => Decision::endpoint(index).because(reason),
            None => Decision::fallback(),
        }
    }
}

wasmesh_policy::export!(BoundedLoadHash);
