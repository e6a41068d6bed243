//! The own zone first; as it gets short of endpoints or overloaded, a growing part of the requests goes elsewhere.
//!
//! `{"slack": PERCENT, "limit": N}`: by how much the own zone may be short of endpoints before anything spills (40: with
//! 72 % of them available all requests stay); how many requests under way an endpoint of it takes from this proxy before
//! the rest spills (no limit). Within zone and priority, the less loaded of two chosen by chance.
//!
//! A proxy that does not know its zone balances over all endpoints alike.

mod share;

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update,
    config::{self, Fields},
    levels::Levels,
    random::mix,
    two_choices::TwoChoices,
};

use share::{Rule, Share};

const REASONS: [&str; 4] = ["own-zone", "spilled", "own-zone-down", "others-down"];
const OWN_ZONE: u32 = 0;
const SPILLED: u32 = 1;
const OWN_ZONE_DOWN: u32 = 2;
const OTHERS_DOWN: u32 = 3;

struct ZoneSpillover {
    zone: String,
    share: Share,
    own: Levels<TwoChoices>,
    others: Levels<TwoChoices>,
}

const USAGE: &str = r#"{"slack": PERCENT, "limit": NUMBER}"#;

struct Config {
    slack: Option<u32>,
    limit: Option<u32>,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self { slack: fields.number("slack")?, limit: fields.number("limit")? })
    }
}

impl Policy for ZoneSpillover {
    fn init(text: &str, about: &[Label]) -> Result<(Self, Plan), String> {
        let config = config::read(text, USAGE, Config::take)?;
        if config.limit == Some(0) {
            return Err("config: limit is 0, but an endpoint must take a request; leave it out for no limit".to_owned());
        }
        let zone = about.iter().find(|label| label.name == "zone").map(|label| label.value.clone());
        let policy = Self {
            zone: zone.unwrap_or_default(),
            share: Share::new(Rule { slack_percent: config.slack.unwrap_or(40), limit: config.limit }),
            own: Levels::default(),
            others: Levels::default(),
        };
        Ok((policy, Plan::with_reasons(&REASONS)))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        let is_own = |zone: &str| !zone.is_empty() && zone == self.zone;
        self.own = Levels::among(&update.endpoints, &|endpoint| is_own(&endpoint.zone));
        self.others = Levels::among(&update.endpoints, &|endpoint| !is_own(&endpoint.zone));
        let own = update.endpoints.iter().zip(0..).filter(|(endpoint, _)| is_own(&endpoint.zone));
        self.share.set_members(own.map(|(_, index)| index).collect());
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let stays = self.share.takes(request.now_ms, mix(!request.random));
        let (wanted, other, reason, else_reason) = if stays {
            (&self.own, &self.others, OWN_ZONE, OWN_ZONE_DOWN)
        } else {
            (&self.others, &self.own, SPILLED, OTHERS_DOWN)
        };
        let usable = |levels: &Levels<TwoChoices>, reason| Some((levels.pick_usable(request, &mut 0)?.0, reason));
        match usable(wanted, reason).or_else(|| usable(other, else_reason)) {
            Some((index, reason)) => Decision::endpoint(index).because(reason),
            None => Decision::fallback().because(else_reason),
        }
    }
}

wasmesh_policy::export!(ZoneSpillover);
