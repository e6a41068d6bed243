//! Gives a policy the endpoints and requests of a case.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use fastrand::Rng;
use wasmesh_policy_host::{About, Choice, EndpointView, Policy, Request, RequestSource, Stats, Traits, Want, Word};

use super::cases::{self, Case, Endpoint, Health};

/// When all of it happens, in milliseconds. Nothing ages.
const NOW_MS: u64 = 1_000_000_000;

/// A policy that is tried.
pub(super) struct Desk {
    pub(super) policy: Arc<Policy>,
    pub(super) about: About,
}

/// What came of one pick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) choice: Chosen,
    /// The name of the reason, if there is one.
    pub(super) reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Chosen {
    /// An endpoint, by its name.
    Endpoint(String),
    /// One that a sidecar would not take: it is not available, or has just failed. The built-in policy would choose.
    Overridden(String),
    Fallback,
    Reject(u16),
    Hold,
    Fault(String),
}

impl Desk {
    /// All picks of a case, on an instance of its own. The same case gives the same picks.
    ///
    /// # Errors
    /// The policy does not take the list.
    pub(super) fn pick(&self, endpoints: &[Endpoint], case: &Case) -> anyhow::Result<Vec<Pick>> {
        let labels: Vec<Vec<(&str, &str)>> = endpoints
            .iter()
            .map(|endpoint| endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            .collect();
        let views: Vec<_> = endpoints
            .iter()
            .zip(&labels)
            .enumerate()
            .map(|(at, (endpoint, labels))| view(at, endpoint, labels))
            .collect();
        let mut instance = self.policy.instance(&self.about).context("no instance can be made")?;
        let wants = self.policy.plan().wants.iter().map(|want| match want {
            Want::Report(name) => Some(name.clone()),
            Want::Text(_) | Want::Body(_) => None,
        });
        let given = Given { endpoints: endpoints.to_vec(), wants: wants.collect() };
        instance.update(1, NOW_MS, &views, Box::new(given)).context("it does not take the endpoints")?;
        let source = Source(&case.request);
        let avoid = case.request.avoid.as_ref().and_then(|name| endpoints.iter().position(|it| it.name == *name));
        let mut rng = Rng::with_seed(1);
        let mut picks = Vec::new();
        for _ in 0..case.times {
            let request = Request {
                keys: self.policy.plan().keys(&source),
                random: rng.u64(..),
                now_ms: NOW_MS,
                attempt: case.request.attempt.unwrap_or(u32::from(avoid.is_some())),
                avoid: avoid.and_then(|index| u32::try_from(index).ok()),
                traits: Traits { http: true, grpc: case.request.grpc, tls: false },
            };
            match instance.pick(&request, &source) {
                Ok(decision) => {
                    let choice = match decision.choice {
                        Choice::Endpoint(index) => {
                            let endpoint = &endpoints[index as usize];
                            let stands = endpoint.available && avoid != Some(index as usize);
                            let name = endpoint.name.clone();
                            if stands { Chosen::Endpoint(name) } else { Chosen::Overridden(name) }
                        }
                        Choice::Fallback => Chosen::Fallback,
                        Choice::Reject(status) => Chosen::Reject(status),
                        Choice::Hold(_) => Chosen::Hold,
                    };
                    let reason = self.policy.plan().reason(decision.reason).map(str::to_owned);
                    picks.push(Pick { choice, reason });
                }
                // After a fault the instance is dead; more picks would say nothing.
                Err(fault) => {
                    picks.push(Pick { choice: Chosen::Fault(fault.to_string()), reason: None });
                    break;
                }
            }
        }
        Ok(picks)
    }
}

fn view<'a>(at: usize, endpoint: &'a Endpoint, labels: &'a [(&'a str, &'a str)]) -> EndpointView<'a> {
    let number = at as u32 + 1;
    let [.., high, low] = number.to_be_bytes();
    EndpointView {
        // Spread over all bits, as identities are.
        id: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        address: endpoint.address.unwrap_or_else(|| SocketAddr::from(([10, 0, high, low], 8080))),
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: &endpoint.node,
        health: match endpoint.health {
            Health::Healthy => wasmesh_policy_host::Health::Healthy,
            Health::Degraded => wasmesh_policy_host::Health::Degraded,
            Health::Draining => wasmesh_policy_host::Health::Draining,
        },
        ready_ms: endpoint.ready_seconds.map_or(0, |seconds| NOW_MS - u64::from(seconds) * 1000),
        labels,
    }
}

/// What a case says of its endpoints.
struct Given {
    endpoints: Vec<Endpoint>,
    /// The name of each want that is a report.
    wants: Vec<Option<String>>,
}

impl Given {
    fn endpoint(&self, at: u32) -> Option<&Endpoint> {
        self.endpoints.get(at as usize)
    }
}

impl Stats for Given {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.endpoint(endpoint).map_or(0, |endpoint| endpoint.in_flight.into())
    }

    fn total_in_flight(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| u32::from(endpoint.in_flight)).sum()
    }

    fn latency_us(&self, endpoint: u32, _: u64) -> u32 {
        self.endpoint(endpoint).map_or(0, |endpoint| (endpoint.latency_ms * 1e3) as u32)
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        self.endpoint(endpoint).map_or(0, |endpoint| endpoint.failure_rate)
    }

    fn available(&self, endpoint: u32, _: u64) -> bool {
        self.endpoint(endpoint).is_some_and(|endpoint| endpoint.available)
    }

    fn reported(&self, endpoint: u32, want: u32, _: u64) -> Option<u32> {
        let name = self.wants.get(want as usize)?.as_ref()?;
        Some((self.endpoint(endpoint)?.reported.get(name)? * 1e3).round() as u32)
    }

    fn peers(&self) -> u32 {
        1
    }
}

/// What a case says of its request.
struct Source<'a>(&'a cases::Request);

impl RequestSource for Source<'_> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        self.0.words.get(&word.to_string()).map(|value| Cow::Borrowed(value.as_bytes()))
    }

    fn body(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.body.as_bytes())
    }

    fn deadline_ms(&self) -> u32 {
        self.0.deadline_ms.unwrap_or(u32::MAX)
    }
}
