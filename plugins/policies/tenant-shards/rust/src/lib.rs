//! Shuffle sharding: each tenant has a few endpoints of its own, so that what one tenant breaks, another hardly feels.
//!
//! `{"tenant": WORD, "size": N, "spill": BOOL}`: who the tenant is, a word as in `Plan::keys` (by default
//! `header:x-tenant`); how many endpoints a shard has, 1 to 8 (2); whether a tenant may leave its shard when none of it
//! is available (true). If it may not, the request is rejected with 503, for which the policy object must allow `Reject`.
//!
//! The shard is made of the endpoints with the highest hashes of tenant and endpoint together: rendezvous hashing (Thaler
//! and Ravishankar, 1998). It needs no table, is the same on every proxy, and stays put: an endpoint that is ejected is
//! skipped within its shards, one that leaves is replaced in these and in no other. Weights and priorities are not
//! looked at, but for requests without a tenant: these go to the less loaded of any two endpoints.

mod lately;
mod shard;

use wasmesh_policy::{
    Choice, Decision, Label, Plan, Policy, Request, Traits, Update,
    config::{self, Fields},
    levels::Levels,
    random::{below, mix},
    stats,
    two_choices::TwoChoices,
};

use lately::Lately;
use shard::{MAX_SIZE, Shard};

const REASONS: [&str; 4] = ["shard", "outside-shard", "shard-down", "no-tenant"];
const IN_SHARD: u32 = 0;
const OUTSIDE_SHARD: u32 = 1;
const SHARD_DOWN: u32 = 2;
const NO_TENANT: u32 = 3;

struct TenantShards {
    spill: bool,
    shards: Lately,
    /// For requests without a tenant.
    all: Levels<TwoChoices>,
}

const USAGE: &str = r#"{"tenant": WORD, "size": 1 to 8, "spill": true or false}"#;

struct Config {
    tenant: Option<String>,
    size: Option<u32>,
    spill: Option<bool>,
}

impl Config {
    fn take(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self { tenant: fields.string("tenant")?, size: fields.number("size")?, spill: fields.flag("spill")? })
    }
}

impl Policy for TenantShards {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let config = config::read(text, USAGE, Config::take)?;
        let size = config.size.unwrap_or(2) as usize;
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(format!("config: size is {size}, but a shard has 1 to {MAX_SIZE} endpoints"));
        }
        let tenant = config.tenant.unwrap_or_else(|| "header:x-tenant".to_owned());
        let policy = Self { spill: config.spill.unwrap_or(true), shards: Lately::new(size), all: Levels::default() };
        Ok((policy, Plan { keys: vec![tenant], ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.shards.set_endpoints(update.endpoints.iter().map(|endpoint| endpoint.id).collect());
        self.all = Levels::new(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if !request.traits.contains(Traits::KEY0) {
            // Nobody in particular has no shard: else all of these would crowd into one.
            return match self.all.pick_usable(request, &mut 0) {
                Some((index, _)) => Decision::endpoint(index).because(NO_TENANT),
                None => Decision::fallback().because(NO_TENANT),
            };
        }
        let tenant = request.key0;
        let usable = |index: u32| request.avoid != Some(index) && stats::available(index);
        let shard = self.shards.shard(tenant, request.random);
        match least_loaded(shard, mix(request.random), usable) {
            Some(index) => Decision::endpoint(index).because(IN_SHARD),
            None if self.spill => match Shard::of(tenant, self.shards.ids(), 1, usable).first() {
                Some(index) => Decision::endpoint(index).because(OUTSIDE_SHARD),
                None => Decision::fallback().because(SHARD_DOWN),
            },
            None => Decision::of(Choice::Reject(503)).because(SHARD_DOWN),
        }
    }
}

wasmesh_policy::export!(TenantShards);

/// The usable one with the fewest requests under way, from a random place on, so that ties are spread.
fn least_loaded(shard: &[u32], random: u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
    let (before, after) = shard.split_at(below(random, shard.len() as u64) as usize);
    let usable = after.iter().chain(before).copied().filter(|index| usable(*index));
    usable.min_by_key(|index| stats::in_flight(*index))
}
