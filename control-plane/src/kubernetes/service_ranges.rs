//! The ranges in which Services have their addresses: what sidecars capture.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Api, Client, runtime::watcher};
use tokio::{sync::watch, time::sleep};
use wasmesh_core::capture::Cidr;

use super::explain;

/// The pause after a failure: pods that are made meanwhile are meshed without capture.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause where the API server has no such objects, as before Kubernetes 1.33: there is nothing to wait for.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// The ranges of the cluster, and what follows them as long as it is polled. If some are `given`, those are the ranges.
pub fn service_ranges(client: Client, given: Vec<Cidr>) -> (watch::Receiver<Vec<Cidr>>, impl Future<Output = ()>) {
    let is_given = !given.is_empty();
    let (ranges_in, ranges) = watch::channel(given);
    let follow = async move {
        if is_given {
            std::future::pending::<()>().await;
        }
        follow(client, &ranges_in).await;
    };
    (ranges, follow)
}

async fn follow(client: Client, ranges: &watch::Sender<Vec<Cidr>>) {
    let api = Api::<ServiceCIDR>::all(client);
    let mut events = watcher(api, watcher::Config::default()).boxed();
    let (mut known, mut arriving) = (BTreeMap::new(), None);
    let mut told = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => arriving = Some(BTreeMap::new()),
            Ok(watcher::Event::InitApply(object)) => arriving.get_or_insert_default().extend(entry(object)),
            Ok(watcher::Event::InitDone) => known = arriving.take().unwrap_or_default(),
            Ok(watcher::Event::Apply(object)) => known.extend(entry(object)),
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&object.metadata.name.unwrap_or_default());
            }
            Err(error) => {
                let reason = explain(&error);
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(
                        "cannot read the ServiceCIDRs of the cluster, so pods are meshed without capture unless --service-cidr \
                         is given: {reason}"
                    );
                    told = Some(reason);
                }
                let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = &error
                else {
                    sleep(PAUSE).await;
                    continue;
                };
                let is_unknown = matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404));
                sleep(if is_unknown { LONG_PAUSE } else { PAUSE }).await;
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
