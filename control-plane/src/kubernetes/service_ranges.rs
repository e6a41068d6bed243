//! The ranges in which Services have their addresses: what sidecars capture.

use std::{collections::BTreeMap, future::Future};

use futures_util::StreamExt;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Api, Client, runtime::watcher};
use tokio::sync::watch;
use wasmesh_core::capture::Cidr;

use super::follow::{Event, follow};

/// The ranges of the cluster, and what follows them as long as it is polled. If some are `given`, those are the ranges.
pub fn service_ranges(client: Client, given: Vec<Cidr>) -> (watch::Receiver<Vec<Cidr>>, impl Future<Output = ()>) {
    let is_given = !given.is_empty();
    let (ranges_in, ranges) = watch::channel(given);
    let follow = async move {
        if is_given {
            std::future::pending::<()>().await;
        }
        follow_ranges(client, &ranges_in).await;
    };
    (ranges, follow)
}

async fn follow_ranges(client: Client, ranges: &watch::Sender<Vec<Cidr>>) {
    let api = Api::<ServiceCIDR>::all(client);
    let mut events = follow(watcher::Config::default(), move |config| watcher(api.clone(), config));
    let (mut known, mut arriving) = (BTreeMap::new(), None);
    let mut told = None;
    while let Some(event) = events.next().await {
        match event {
            Event::ListBegins => arriving = Some(BTreeMap::new()),
            Event::Listed(object) => arriving.get_or_insert_default().extend(entry(object)),
            Event::ListEnds => (known, told) = (arriving.take().unwrap_or_default(), None),
            Event::Applied(object) => known.extend(entry(object)),
            Event::Deleted(object) => {
                known.remove(&object.metadata.name.unwrap_or_default());
            }
            Event::Works => told = None,
            Event::Failed { reason, .. } => {
                arriving = None;
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(
                        "cannot read the ServiceCIDRs of the cluster, so pods are meshed without capture unless --service-cidr \
                         is given: {reason}"
                    );
                    told = Some(reason);
                }
                continue;
            }
        }
        if arriving.is_none() {
            let mut now: Vec<Cidr> = known.values().flatten().copied().collect();
            now.sort_unstable();
            now.dedup();
            ranges.send_if_modified(|ranges| std::mem::replace(ranges, now.clone()) != now);
        }
    }
}

fn entry(object: ServiceCIDR) -> Option<(String, Vec<Cidr>)> {
    let cidrs = object.spec?.cidrs.unwrap_or_default();
    let cidrs = cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
    Some((object.metadata.name.unwrap_or_default(), cidrs))
}
