//! Both ends of the stream under every order of events that a seed can think of: changes, subscriptions, messages
//! delivered late, streams that break and come back at another replica. `WASMESH_SEEDS` asks for more of them.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{Pair, Random, edit, expected, held};
use wasmesh_core::{name::ServiceName, snapshot::Snapshot};
use wasmesh_proto::session::encoder::Encoder;

/// Which Service has which address.
type Owners = BTreeMap<String, ServiceName>;

fn owners(snapshot: &Snapshot) -> Owners {
    let of = |(name, service): (&ServiceName, &std::sync::Arc<wasmesh_core::service::Service>)| {
        service.spec.value.vips().iter().map(|vip| (vip.to_string(), name.clone())).collect::<Vec<_>>()
    };
    snapshot.iter().flat_map(of).collect()
}

fn owners_in_table(pair: &Pair) -> Owners {
    let table = pair.client.table();
    let vips = table.iter().flat_map(|(_, held)| held.entry.value.spec.vips().to_vec());
    vips.filter_map(|vip| Some((vip.to_string(), table.directory().by_vip(vip)?.spec.name.clone()))).collect()
}

/// How the control plane and the proxies fared.
#[derive(Debug, Default)]
struct Fared {
    compared: usize,
    diverged: usize,
}

/// Runs one history. With `corrupt`, updates lose something now and then on their way, unnoticed by the connection.
fn run(seed: u64, corrupt: bool) -> Fared {
    let mut random = Random(seed);
    let encoder = Encoder::default();
    let mut latest = Snapshot::default();
    let mut published: BTreeSet<Owners> = [owners(&latest)].into();
    let mut proxies = [Pair::new("even"), Pair::new("odd"), Pair::new("")];
    for _ in 0..120 {
        let proxy = &mut proxies[random.below(3)];
        match random.below(12) {
            0 | 1 => {
                latest = edit(&latest, &mut random);
                published.insert(owners(&latest));
            }
            2 => proxy.subscribe(&random.name()),
            // What is forgotten without a stream could not be had back, so nobody does that.
            3 if proxy.server.is_some() && proxy.client.is_welcomed() => proxy.unsubscribe(&random.name()),
            4 if random.chance(2) => proxy.connect(),
            5 if random.chance(4) => proxy.disconnect(),
            6 | 7 => proxy.poll(&latest, &encoder),
            8 | 9 => proxy.deliver_up(&latest),
            _ => {
                if corrupt && random.chance(4) {
                    proxy.corrupt(&mut random);
                }
                proxy.deliver_down();
            }
        }
        // A proxy that was told half of an update may hold what was never published, until that is repaired.
        for proxy in proxies.iter().filter(|_| !corrupt) {
            assert!(
                published.contains(&owners_in_table(proxy)),
                "seed {seed}: a proxy routes addresses in a way that was never published"
            );
        }
    }
    for proxy in &mut proxies {
        if proxy.server.is_none() {
            proxy.connect();
        }
        proxy.settle(&latest, &encoder);
        let wanted = expected(&latest, &proxy.viewpoint(), proxy.client.subscriptions());
        assert_eq!(held(proxy.client.table()), wanted, "seed {seed}: a proxy at rest holds something else");
        assert!(proxy.server.as_ref().is_some_and(|server| server.is_current(&latest)), "seed {seed}");
        let at_rest = owners_in_table(proxy);
        assert_eq!(at_rest, owners(&latest), "seed {seed}: a proxy at rest routes addresses elsewhere");
        if !corrupt {
            assert!(proxy.client.rejected().is_empty(), "seed {seed}: {:?}", proxy.client.rejected());
            assert_eq!((proxy.compared, proxy.diverged), (0, 0), "seed {seed}: there was nothing to repair");
        }
    }
    Fared {
        compared: proxies.iter().map(|proxy| proxy.compared).sum(),
        diverged: proxies.iter().map(|proxy| proxy.diverged).sum(),
    }
}

fn seeds() -> u64 {
    std::env::var("WASMESH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

#[test]
fn at_rest_every_proxy_holds_the_source_and_on_the_way_only_what_was_published() {
    for seed in 0..seeds() {
        run(seed, false);
    }
}

#[test]
fn what_a_proxy_was_not_told_is_noticed_and_repaired() {
    let mut sum = Fared::default();
    for seed in 0..seeds() {
        let Fared { compared, diverged } = run(seed, true);
        sum = Fared { compared: sum.compared + compared, diverged: sum.diverged + diverged };
    }
    // Only a repair that is itself corrupted may end a stream.
    assert!(sum.compared > 0 && sum.diverged * 2 < sum.compared, "{sum:?}");
}
