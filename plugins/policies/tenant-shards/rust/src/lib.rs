//! Shuffle sharding: each tenant has a few endpoints of its own, so that what one tenant breaks, another hardly feels.
//!
//! `{"tenant": WORD, "size": N, "spill": BOOL}`: who the tenant is, a word as in `Plan::keys` (by default
//! `header:x-tenant`); how many endpoints a shard has, 1 to 8 (2); whether a tenant may leave its shard when none of it
//! is available (true). If it may not, the request is rejected with 503, for which the policy object must allow `Reject`.
//!
//! The shard is made of the endpoints with the highest hashes of tenant and endpoint together: rendezvous hashing (Thaler
//! and Ravishankar, 1998). It needs no table, is the same on every proxy, and stays put: an endpoint that is ejected is
//! skipped within its shards, one that leaves is replaced in these and in no other. Weights and priorities are not
//! looked at.

mod shard;

use serde::Deserialize;
use wasmesh_policy::{Choice, Decision, Label, Plan, Policy, Request, Traits, Update, config, random::mix, stats};

use shard::{MAX_SIZE, Shard};

const REASONS: [&str; 4] = ["shard", "outside-shard", "shard-down", "no-tenant"];
const IN_SHARD: u32 = 0;
const OUTSIDE_SHARD: u32 = 1;
const SHARD_DOWN: u32 = 2;
const NO_TENANT: u32 = 3;

struct TenantShards {
    size: usize,
    spill: bool,
    ids: Vec<u64>,
}

const USAGE: &str = r#"{"tenant": WORD, "size": 1 to 8, "spill": true or false}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    tenant: Option<String>,
    size: Option<u8>,
    spill: Option<bool>,
}

impl Policy for TenantShards {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let config: Config = config::read(text, USAGE)?;
        let size = usize::from(config.size.unwrap_or(2));
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(format!("config: size is {size}, but a shard has 1 to {MAX_SIZE} endpoints"));
        }
        let tenant = config.tenant.unwrap_or_else(|| "header:x-tenant".to_owned());
        let policy = Self { size, spill: config.spill.unwrap_or(true), ids: Vec::new() };
        Ok((policy, Plan { keys: vec![tenant], ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.ids = update.endpoints.iter().map(|endpoint| endpoint.id).collect();
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let has_tenant = request.traits.contains(Traits::KEY0);
        // Nobody in particular is a tenant of any shard: else all of these would crowd into one.
        let tenant = if has_tenant { request.key0 } else { request.random };
        let reason = if has_tenant { IN_SHARD } else { NO_TENANT };
        let usable = |index: u32| request.avoid != Some(index) && stats::available(index);
        let shard = Shard::of(tenant, &self.ids, self.size, |_| true);
        match least_loaded(&shard, mix(request.random), usable) {
            Some(index) => Decision::endpoint(index).because(reason),
            None if self.spill => match Shard::of(tenant, &self.ids, 1, usable).first() {
                Some(index) => Decision::endpoint(index).because(OUTSIDE_SHARD),
                None => Decision::fallback().because(SHARD_DOWN),
            },
            None => Decision::of(Choice::Reject(503)).because(SHARD_DOWN),
        }
    }
}

wasmesh_policy::export!(TenantShards);

/// The usable one with the fewest requests under way, from a random place on, so that ties are spread.
fn least_loaded(shard: &Shard, random: u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
    shard.from(random).filter(|index| usable(*index)).min_by_key(|index| stats::in_flight(*index))
}
