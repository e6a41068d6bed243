//! What a policy is held against: endpoints, requests, and who is to take them.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Cases {
    /// What `init` gets.
    #[serde(default)]
    pub(super) config: Option<Value>,
    /// Where the policy is told to be: `zone`, `node` and so on, as in the contract.
    #[serde(default)]
    pub(super) about: BTreeMap<String, String>,
    /// The endpoints of all cases that have none of their own.
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) cases: Vec<Case>,
}

/// One endpoint, by a name that expectations use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Endpoint {
    pub(super) name: String,
    #[serde(default)]
    pub(super) address: Option<SocketAddr>,
    #[serde(default = "one")]
    pub(super) weight: u32,
    #[serde(default)]
    pub(super) priority: u32,
    #[serde(default)]
    pub(super) zone: String,
    #[serde(default)]
    pub(super) node: String,
    #[serde(default)]
    pub(super) health: Health,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) in_flight: u32,
    #[serde(default)]
    pub(super) latency_ms: f64,
    /// How many of 1000 recent requests failed.
    #[serde(default)]
    pub(super) failure_rate: u32,
    #[serde(default = "yes")]
    pub(super) available: bool,
    /// What it says of itself, by the names of `report:` words.
    #[serde(default)]
    pub(super) reported: BTreeMap<String, f64>,
}

/// As in the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    #[default]
    Healthy,
    Degraded,
    Draining,
}

/// One case: the same request so many times, on an instance of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    pub(super) request: Request,
    /// How often it is picked for, with other random bits each time.
    #[serde(default = "once")]
    pub(super) times: u32,
    pub(super) expect: Expectation,
}

/// What a request has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Request {
    /// By words as in a plan: `header:x-tenant`, `path`, `source-address`. `json:` is found in the body.
    #[serde(default)]
    pub(super) words: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: String,
    /// The endpoint on which it has just failed.
    #[serde(default)]
    pub(super) avoid: Option<String>,
    #[serde(default)]
    pub(super) attempt: u32,
    #[serde(default)]
    pub(super) deadline_ms: Option<u32>,
    #[serde(default)]
    pub(super) grpc: bool,
}

/// What must come of it. All that is said must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Expectation {
    /// Each pick is this endpoint.
    #[serde(default)]
    pub(super) endpoint: Option<String>,
    /// Each pick is one of these.
    #[serde(default)]
    pub(super) only: Option<Vec<String>>,
    /// All picks are the same endpoint, whichever.
    #[serde(default)]
    pub(super) same: bool,
    /// Shares of the picks, from 0 to 1; endpoints that are not named may have any.
    #[serde(default)]
    pub(super) shares: BTreeMap<String, f64>,
    /// How far a share may be off.
    #[serde(default = "within")]
    pub(super) within: f64,
    /// Each pick is left to the built-in policy.
    #[serde(default)]
    pub(super) fallback: bool,
    /// Each pick rejects with this status.
    #[serde(default)]
    pub(super) reject: Option<u16>,
    /// Each pick holds the request.
    #[serde(default)]
    pub(super) hold: bool,
    /// The reason of each pick.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

fn one() -> u32 {
    1
}

fn once() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn within() -> f64 {
    0.05
}

/// Enough for a distribution, and few enough for a desk.
const MOST_TIMES: u32 = 1_000_000;

impl Cases {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no file of cases, or names endpoints that are not there; says which case.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let cases: Self = serde_saphyr::from_str(&text).with_context(|| name.to_string())?;
        cases.check().with_context(|| name.to_string())?;
        Ok(cases)
    }

    /// The endpoints of a case.
    pub(super) fn endpoints<'a>(&'a self, case: &'a Case) -> &'a [Endpoint] {
        case.endpoints.as_deref().unwrap_or(&self.endpoints)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.cases.is_empty(), "there is no case");
        for case in &self.cases {
            self.check_case(case).with_context(|| format!("case {:?}", case.name))?;
        }
        Ok(())
    }

    fn check_case(&self, case: &Case) -> anyhow::Result<()> {
        let endpoints = self.endpoints(case);
        let Expectation { endpoint, only, same, shares, fallback, reject, hold, reason, .. } = &case.expect;
        let says = endpoint.is_some() || only.is_some() || *same || !shares.is_empty() || *fallback || *hold;
        ensure!(says || reject.is_some() || reason.is_some(), "expect says nothing: the case could not fail");
        ensure!((1..=MOST_TIMES).contains(&case.times), "times is {}: 1 to {MOST_TIMES}", case.times);
        let named = endpoint.iter().chain(only.iter().flatten()).chain(shares.keys()).chain(&case.request.avoid);
        for name in named {
            if !endpoints.iter().any(|endpoint| endpoint.name == *name) {
                let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
                bail!("there is no endpoint {name:?}; there are {}", names.join(", "));
            }
        }
        Ok(())
    }
}
