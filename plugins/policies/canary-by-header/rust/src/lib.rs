//! Requests with a certain header go to the new version, all others to the old one.
//!
//! `{"header": "x-canary", "value": "yes", "label": "version", "canary": "v2"}`: a request whose header has that value
//! goes to the pods whose label has the value of `canary`. All but `canary` have these defaults. The policy object must
//! name the label in `endpointLabels`.
//!
//! The header never gets here: the host hashes it, and hashes are compared.

use wasmesh_policy::{
    Decision, Endpoint, Label, Plan, Policy, Request, Traits, Update,
    config::{self, Fields},
    hash::xxh3,
    levels::Levels,
    two_choices::TwoChoices,
};

const REASONS: [&str; 4] = ["stable", "canary", "no-canary", "no-stable"];
const STABLE: u32 = 0;
const CANARY: u32 = 1;
const NO_CANARY: u32 = 2;
const NO_STABLE: u32 = 3;

struct CanaryByHeader {
    label: String,
    version: String,
    /// Hash of the header's value that asks for the new version.
    asked: u64,
    canary: Levels<TwoChoices>,
    stable: Levels<TwoChoices>,
}

const USAGE: &str = r#"{"canary": VALUE, "label": NAME, "header": NAME, "value": VALUE}, all but canary by choice"#;

struct Config {
    header: Option<String>,
    value: Option<String>,
    label: Option<String>,
    canary: Option<String>,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            header: fields.string("header")?,
            value: fields.string("value")?,
            label: fields.string("label")?,
            canary: fields.string("canary")?,
        })
    }
}

impl Policy for CanaryByHeader {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let config = config::read(text, USAGE, Config::take)?;
        let Some(version) = config.canary.filter(|version| !version.is_empty()) else {
            return Err("config: canary must say which value of the label is the new version".to_owned());
        };
        let value = config.value.unwrap_or_else(|| "yes".to_owned());
        let header = config.header.unwrap_or_else(|| "x-canary".to_owned());
        let policy = Self {
            label: config.label.unwrap_or_else(|| "version".to_owned()),
            version,
            asked: xxh3(value.as_bytes()),
            canary: Levels::default(),
            stable: Levels::default(),
        };
        Ok((policy, Plan { keys: vec![format!("header:{header}")], ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        let is_canary =
            |e: &Endpoint| e.labels.iter().any(|label| label.name == self.label && label.value == self.version);
        self.canary = Levels::among(&update.endpoints, &is_canary);
        self.stable = Levels::among(&update.endpoints, &|endpoint| !is_canary(endpoint));
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let asks = request.traits.contains(Traits::KEY0) && request.key0 == self.asked;
        let (wanted, other, reason, else_reason) = if asks {
            (&self.canary, &self.stable, CANARY, NO_CANARY)
        } else {
            (&self.stable, &self.canary, STABLE, NO_STABLE)
        };
        // A request is better served by the other version than not at all.
        let usable = |levels: &Levels<TwoChoices>, reason| Some((levels.pick_usable(request, &mut 0)?.0, reason));
        match usable(wanted, reason).or_else(|| usable(other, else_reason)) {
            Some((index, reason)) => Decision::endpoint(index).because(reason),
            None => Decision::fallback().because(else_reason),
        }
    }
}

wasmesh_policy::export!(CanaryByHeader);
