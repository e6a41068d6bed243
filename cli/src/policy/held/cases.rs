//! What a policy is held against: endpoints, requests, and who is to take them.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use wasmesh_policy_host::{Grants, Word};

use crate::policy::load::read_text;

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Cases {
    /// What `init` gets.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// What the policy may do and see, as `allow` of the policy object.
    #[serde(default)]
    pub(super) allow: Vec<Permission>,
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
    pub(super) in_flight: u16,
    #[serde(default)]
    pub(super) latency_ms: f64,
    /// How many of 1000 recent requests failed.
    #[serde(default)]
    pub(super) failure_rate: u32,
    #[serde(default = "yes")]
    pub(super) available: bool,
    /// For how many seconds it has been there; since before the proxy, if nothing is said.
    #[serde(default)]
    pub(super) ready_seconds: Option<u16>,
    /// What it says of itself, by the names of `report:` words.
    #[serde(default)]
    pub(super) reported: BTreeMap<String, f64>,
}

/// As in the policy object; and what an administrator may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Permission {
    Body,
    Reject,
    Hold,
    SensitiveHeaders,
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
    /// How often it has been tried: once, where there is one to avoid.
    #[serde(default)]
    pub(super) attempt: Option<u32>,
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
        let mut cases: Self = serde_saphyr::from_str(&read_text(file)?).with_context(|| name.to_string())?;
        cases.check().with_context(|| name.to_string())?;
        Ok(cases)
    }

    /// The endpoints of a case.
    pub(super) fn endpoints<'a>(&'a self, case: &'a Case) -> &'a [Endpoint] {
        case.endpoints.as_deref().unwrap_or(&self.endpoints)
    }

    /// What the policy may do.
    pub(super) fn grants(&self) -> Grants {
        let may = |permission| self.allow.contains(&permission);
        Grants {
            body: may(Permission::Body),
            reject: may(Permission::Reject),
            hold: may(Permission::Hold),
            sensitive_headers: may(Permission::SensitiveHeaders),
        }
    }

    fn check(&mut self) -> anyhow::Result<()> {
        ensure!(!self.cases.is_empty(), "there is no case");
        check_endpoints(&self.endpoints)?;
        for case in &self.cases {
            self.check_case(case).with_context(|| format!("case {:?}", case.name))?;
        }
        for case in &mut self.cases {
            case.request.settle_words().with_context(|| format!("case {:?}", case.name))?;
        }
        Ok(())
    }

    fn check_case(&self, case: &Case) -> anyhow::Result<()> {
        let endpoints = self.endpoints(case);
        check_endpoints(endpoints)?;
        let is_share = |value: &f64| (0.0..=1.0).contains(value);
        ensure!(is_share(&case.expect.within), "within is {}: from 0 to 1", case.expect.within);
        ensure!(case.expect.shares.values().all(is_share), "shares are from 0 to 1: {:?}", case.expect.shares);
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

impl Request {
    /// Writes words as plans have them, and adds what every HTTP request has.
    fn settle_words(&mut self) -> anyhow::Result<()> {
        let usual = [("path", "/"), ("authority", "web.default"), ("source-address", "10.1.0.1")];
        let mut settled: BTreeMap<_, _> =
            usual.into_iter().map(|(word, value)| (word.to_owned(), value.to_owned())).collect();
        for (word, value) in std::mem::take(&mut self.words) {
            match Word::parse(&word) {
                Ok(Word::Json { .. }) => bail!("words: {word} is found in the body: give the request a body"),
                Ok(word) => drop(settled.insert(word.to_string(), value)),
                Err(why) => bail!("words: {word} {why}"),
            }
        }
        self.words = settled;
        Ok(())
    }
}

fn check_endpoints(endpoints: &[Endpoint]) -> anyhow::Result<()> {
    for (at, endpoint) in endpoints.iter().enumerate() {
        let name = &endpoint.name;
        ensure!(endpoints[..at].iter().all(|other| other.name != *name), "two endpoints are called {name:?}");
        ensure!(endpoint.weight > 0, "the weight of {name:?} is 0: it must be at least 1");
        ensure!(endpoint.failure_rate <= 1000, "failureRate of {name:?} is {}: of 1000", endpoint.failure_rate);
        let latency = endpoint.latency_ms;
        ensure!((0.0..=3.6e6).contains(&latency), "latencyMs of {name:?} is {latency}: from 0 to an hour");
        let reported = endpoint.reported.values().all(|value| value.is_finite() && *value >= 0.0);
        ensure!(reported, "what {name:?} reports must be 0 or more");
    }
    Ok(())
}
