//! Each zone takes its share of the requests, and within a zone the less loaded of two endpoints.
//!
//! `{"eu-1": 80, "eu-2": 20}`: shares by zone, relative to each other. `"own"` stands for the zone that the proxy is in and
//! `"*"` for each one that is not named; without `"*"` these get what nobody else can take. The zone's own name counts for
//! less than `"own"`. A zone without usable endpoints gives its share to the others, in proportion to theirs. Priorities
//! count within a zone.

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update, config,
    levels::Levels,
    random::{below, mix},
    two_choices::TwoChoices,
};

const REASONS: [&str; 3] = ["share", "others-down", "no-share"];
const SHARE: u32 = 0;
const OTHERS_DOWN: u32 = 1;
const NO_SHARE: u32 = 2;

const USAGE: &str = r#"{ZONE: SHARE, …}, where ZONE is a name, "own" or "*""#;

struct WeightedZones {
    shares: Vec<(String, u32)>,
    own: String,
    zones: Vec<Zone>,
}

struct Zone {
    share: u64,
    endpoints: Levels<TwoChoices>,
}

impl Policy for WeightedZones {
    fn init(text: &str, about: &[Label]) -> Result<(Self, Plan), String> {
        let shares = config::read(text, USAGE, |fields| fields.numbers())?;
        if shares.iter().all(|(_, share)| *share == 0) {
            return Err(format!("config: no zone has a share; this policy takes {USAGE}"));
        }
        let own = about.iter().find(|label| label.name == "zone").map(|label| label.value.clone());
        let policy = Self { shares, own: own.unwrap_or_default(), zones: Vec::new() };
        Ok((policy, Plan::with_reasons(&REASONS)))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        let mut names: Vec<_> = update.endpoints.iter().map(|endpoint| endpoint.zone.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let zone = |name: &str| Zone {
            share: self.share(name),
            endpoints: Levels::among(&update.endpoints, &|endpoint| endpoint.zone == name),
        };
        self.zones = names.into_iter().map(zone).collect();
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let usable = |zone: &Zone| Some(zone.endpoints.pick_usable(request, &mut 0)?.0);
        // The draw within a zone must not follow from that of the zone.
        let drawn = self.draw(mix(!request.random), |_| true);
        if let Some(index) = drawn.and_then(usable) {
            return Decision::endpoint(index).because(SHARE);
        }
        if let Some(index) = self.draw(mix(!request.random), |zone| usable(zone).is_some()).and_then(usable) {
            return Decision::endpoint(index).because(OTHERS_DOWN);
        }
        match self.zones.iter().find_map(usable) {
            Some(index) => Decision::endpoint(index).because(NO_SHARE),
            None => Decision::fallback(),
        }
    }
}

impl WeightedZones {
    fn share(&self, zone: &str) -> u64 {
        let of = |name: &str| self.shares.iter().find(|(other, _)| other == name).map(|(_, share)| *share);
        let is_own = !zone.is_empty() && zone == self.own;
        let own = if is_own { of("own") } else { None };
        u64::from(own.or_else(|| of(zone)).or_else(|| of("*")).unwrap_or(0))
    }

    /// One of those that `keep` says, as often as its share says; none if they have no share.
    fn draw(&self, random: u64, keep: impl Fn(&Zone) -> bool) -> Option<&Zone> {
        let kept = || self.zones.iter().filter(|zone| zone.share > 0 && keep(zone));
        let mut point = below(random, kept().map(|zone| zone.share).sum());
        kept().find(|zone| {
            let is_here = point < zone.share;
            point = point.saturating_sub(zone.share);
            is_here
        })
    }
}

wasmesh_policy::export!(WeightedZones);
