//! A policy is tried before it serves: what fails on endpoints and requests that are made up fails on real ones too.

use crate::{
    endpoints::{EndpointView, Health, NoStats},
    error::{Rejection, UpdateError},
    instance::Instance,
    plan::Keys,
    request::{NoSource, Report, Request, Traits},
};

/// How long the lists are. A policy may see an empty one, but is never asked to pick from it.
const LENGTHS: [u16; 4] = [0, 1, 7, 3];
/// So many picks altogether.
const PICKS: u64 = 1000;

/// Runs a policy over lists that grow and shrink. A refusal of a list counts as a failure.
pub(crate) fn run(instance: &mut Instance) -> Result<(), Rejection> {
    let picks = PICKS / (LENGTHS.len() as u64 - 1);
    let keys = instance.policy().plan().possible_keys();
    let mut pick = 0;
    for (length, generation) in LENGTHS.into_iter().zip(1..) {
        update(instance, generation, length)?;
        let last = if length == 0 { pick } else { pick + picks };
        while pick <= last && length > 0 {
            let failed = |call| move |fault| Rejection::Fault { call, fault };
            let request = request(pick, length, keys);
            let decision = instance.pick(&request, &NoSource).map_err(failed("pick"))?;
            let report =
                Report { tag: decision.tag, endpoint_id: pick % 7, now_ms: request.now_ms, ..Report::default() };
            instance.completed(&report).map_err(failed("completed"))?;
            pick += 1;
        }
    }
    Ok(())
}

fn update(instance: &mut Instance, generation: u64, length: u16) -> Result<(), Rejection> {
    let endpoints: Vec<_> = (0..length).map(endpoint).collect();
    instance.update(generation, 1, &endpoints, Box::new(NoStats)).map_err(|error| match error {
        UpdateError::Refused(words) => Rejection::UpdateRefused { endpoints: endpoints.len(), words },
        UpdateError::Fault(fault) => Rejection::Fault { call: "update", fault },
    })
}

fn endpoint(number: u16) -> EndpointView<'static> {
    EndpointView {
        id: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        address: ([10, 0, 0, number as u8], 8080).into(),
        weight: 1 + u32::from(number % 3),
        priority: u32::from(number / 5),
        zone: if number.is_multiple_of(2) { "zone-a" } else { "" },
        node: "node",
        health: [Health::Healthy, Health::Degraded, Health::Draining][usize::from(number % 3)],
        ready_ms: u64::from(number),
        labels: if number.is_multiple_of(2) { &[("app", "dry-run"), ("version", "v1")] } else { &[] },
    }
}

/// Requests of all kinds: with and without those keys that there can be, tried before and not, HTTP and TCP.
fn request(number: u64, endpoints: u16, keys: u8) -> Request {
    let random = number.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31);
    let present = (random >> 8) as u8 & keys;
    let hash = |index: u64| if present & 1 << index == 0 { 0 } else { random.wrapping_mul(2 * index + 3) };
    let is_retry = number.is_multiple_of(5);
    Request {
        keys: Keys { hashes: [hash(0), hash(1), hash(2), hash(3)], present },
        random,
        now_ms: 1 + number,
        attempt: u32::from(is_retry),
        avoid: is_retry.then_some(number as u32 % u32::from(endpoints)),
        traits: Traits { http: !number.is_multiple_of(3), grpc: number % 6 == 1, tls: number.is_multiple_of(7) },
    }
}
