//! The measurements themselves.

use std::{
    cell::Cell,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use wasmesh_core::policy::{Balancer, BuiltinPolicy, PickRequest};
use wasmesh_policy_host::{EndpointView, Instance, Policy, Request, Traits};

use super::{
    endpoints::{Endpoints, NOW_MS},
    memory,
    requests::{self, MadeUp},
    samples::{Rounds, Samples},
};
use crate::policy::load::about;

/// Picks that are timed together: reading the clock costs more than one of them.
const BATCH: usize = 1000;

const PICKS: Rounds = Rounds { wanted: 2000, within: Duration::from_secs(5) };
const WARM_UP: Rounds = Rounds { wanted: 100, within: Duration::from_secs(1) };
const REBUILDS: Rounds = Rounds { wanted: 300, within: Duration::from_secs(2) };

/// How many instances are made to see what one more takes, and how much memory they may have together.
const INSTANCES: usize = 200;
const MOST_MEMORY_BYTES: usize = 512 << 20;

/// The memory of so many sidecars is enough for all of them, and for the first few.
pub(super) const SIDECARS: usize = 7;

/// Made before memory is looked at: the first few instances pay for what all share.
const FIRST_INSTANCES: usize = 20;

/// What came out. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) picks: Samples,
    pub(super) native_picks: Samples,
    pub(super) rebuilds: Samples,
    /// What one more instance takes, in KiB; `None` where the kernel does not tell.
    pub(super) instance_kib: Option<f64>,
}

/// Measures a policy, and a built-in one beside it.
pub(super) fn measure(policy: &Arc<Policy>, endpoints: &Endpoints, twin: BuiltinPolicy) -> anyhow::Result<Measured> {
    let views = endpoints.views();
    // First, before anything was freed that could be used again.
    let instance_kib = instance_kib(policy, endpoints, &views)?;
    let (picks, native_picks) = picks(policy, endpoints, &views, twin)?;
    Ok(Measured { picks, native_picks, rebuilds: rebuilds(policy, endpoints, &views)?, instance_kib })
}

/// An instance with its list, as a change of endpoints makes one for each worker.
fn build(policy: &Arc<Policy>, endpoints: &Endpoints, views: &[EndpointView<'_>]) -> anyhow::Result<Instance> {
    let mut instance = policy.instance(&about()).context("no further instance can be made")?;
    endpoints.give(&mut instance, views)?;
    Ok(instance)
}

fn instance_kib(
    policy: &Arc<Policy>,
    endpoints: &Endpoints,
    views: &[EndpointView<'_>],
) -> anyhow::Result<Option<f64>> {
    let requests = requests::made_up();
    // Its first picks touch what it has not touched yet.
    let used = || -> anyhow::Result<Instance> {
        let mut instance = build(policy, endpoints, views)?;
        guest_batch(&mut instance, &requests, &[0, u64::MAX / 2])?;
        Ok(instance)
    };
    let first: Vec<_> = (0..FIRST_INSTANCES).map(|_| used()).collect::<anyhow::Result<_>>()?;
    let each = first.first().map_or(1, Instance::memory_bytes).max(1);
    let count = INSTANCES.min(MOST_MEMORY_BYTES / each).max(1);
    let mut instances = Vec::with_capacity(count);
    let before = memory::resident_kib();
    for _ in 0..count {
        instances.push(used()?);
    }
    let after = memory::resident_kib();
    Ok(before.zip(after).map(|(before, after)| after.saturating_sub(before) as f64 / count as f64))
}

/// Batches of both in turn, so that whatever else the machine does meanwhile hits both alike.
fn picks(
    policy: &Arc<Policy>,
    endpoints: &Endpoints,
    views: &[EndpointView<'_>],
    twin: BuiltinPolicy,
) -> anyhow::Result<(Samples, Samples)> {
    let requests = requests::made_up();
    let mut instance = build(policy, endpoints, views)?;
    let native = Native {
        balancer: Balancer::new(twin, Arc::clone(endpoints.candidates())),
        cursor: Cell::new(fastrand::u64(..)),
        policy,
    };
    let (mut guest_ns, mut native_ns) = (Vec::new(), Vec::new());
    let mut randoms = vec![0; BATCH];
    let mut both = |keep: bool| -> anyhow::Result<()> {
        randoms.fill_with(|| fastrand::u64(..));
        let guest = timed(|| guest_batch(&mut instance, &requests, &randoms))?;
        let native = timed(|| {
            native.batch(&requests, &randoms);
            Ok(())
        })?;
        if keep {
            guest_ns.push(guest / BATCH as f64);
            native_ns.push(native / BATCH as f64);
        }
        Ok(())
    };
    WARM_UP.run(|| both(false))?;
    PICKS.run(|| both(true))?;
    let samples = |ns| Samples::new(ns).context("nothing was measured");
    Ok((samples(guest_ns)?, samples(native_ns)?))
}

/// A fault would end the measurement: it costs other than a pick.
fn guest_batch(instance: &mut Instance, requests: &[MadeUp], randoms: &[u64]) -> anyhow::Result<()> {
    let policy = Arc::clone(instance.policy());
    for (random, source) in randoms.iter().zip(requests.iter().cycle()) {
        let request = Request {
            keys: policy.plan().keys(source),
            random: *random,
            now_ms: NOW_MS,
            traits: Traits { http: true, ..Traits::default() },
            ..Request::default()
        };
        black_box(instance.pick(&request, source).context("it failed in pick")?);
    }
    Ok(())
}

struct Native<'a> {
    balancer: Balancer,
    cursor: Cell<u64>,
    policy: &'a Policy,
}

impl Native<'_> {
    /// One that is keyed hashes what the policy beside it hashes.
    fn batch(&self, requests: &[MadeUp], randoms: &[u64]) {
        let plan = self.policy.plan();
        let is_keyed = matches!(self.balancer.policy(), BuiltinPolicy::RingHash | BuiltinPolicy::Maglev);
        for (random, source) in randoms.iter().zip(requests.iter().cycle()) {
            let key = match is_keyed && !plan.keys.is_empty() {
                true => plan.keys(source).hashes[0],
                false => *random,
            };
            let request = PickRequest { random: *random, key, now_us: NOW_MS * 1_000, avoid: &[] };
            black_box(self.balancer.pick(&self.cursor, &request));
        }
    }
}

fn rebuilds(policy: &Arc<Policy>, endpoints: &Endpoints, views: &[EndpointView<'_>]) -> anyhow::Result<Samples> {
    let mut ns = Vec::new();
    REBUILDS.run(|| -> anyhow::Result<()> {
        // What is dropped is dropped after the clock was read.
        let mut built = None;
        ns.push(timed(|| {
            built = Some(build(policy, endpoints, views)?);
            Ok(())
        })?);
        Ok(())
    })?;
    Samples::new(ns).context("nothing was measured")
}

/// How long it takes, in nanoseconds.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e9)
}
