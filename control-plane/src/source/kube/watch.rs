//! Watches: from the API server's objects to events.

use std::fmt::Debug;

use futures_util::{Stream, StreamExt, stream::BoxStream};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, core::PartialObjectMeta, runtime::watcher};

use super::{
    event::{Event, Seen},
    read::{self, Read},
    scope::Scope,
};
use crate::kubernetes::follow;

/// The events of a scope. Never ends.
pub(super) fn events(client: Client, scope: &Scope) -> BoxStream<'static, Event> {
    let config = watcher::Config::default();
    match scope {
        Scope::Services => {
            let api = Api::<Service>::all(client);
            events_of(config, move |config| watcher(api.clone(), config), read::service)
        }
        Scope::EndpointSlices => {
            let api = Api::<EndpointSlice>::all(client);
            events_of(config, move |config| watcher(api.clone(), config), read::slice)
        }
        Scope::Nodes => {
            let api = Api::<PartialObjectMeta<Node>>::all(client);
            events_of(config, move |config| watcher(api.clone(), config), read::node)
        }
        Scope::Policies => {
            let api = Api::all_with(client, &read::policy_resource());
            events_of(config, move |config| watcher(api.clone(), config), read::policy)
        }
        Scope::ConfigMap { namespace, name } => {
            let api = Api::<ConfigMap>::namespaced(client, namespace);
            let config = config.fields(&format!("metadata.name={name}"));
            events_of(config, move |config| watcher(api.clone(), config), read::config_map)
        }
        Scope::Pods { namespace } => {
            let api = Api::<PartialObjectMeta<Pod>>::namespaced(client, namespace);
            events_of(config, move |config| watcher(api.clone(), config), read::pod)
        }
    }
}

/// The events of what `open` watches, with objects as they are read here.
fn events_of<K, S>(
    config: watcher::Config,
    open: impl Fn(watcher::Config) -> S + Send + 'static,
    read: fn(K) -> Read,
) -> BoxStream<'static, Event>
where
    K: Debug + Send + 'static,
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
{
    let event = move |event| match event {
        follow::Event::ListBegins => Event::ListBegins,
        follow::Event::Listed(object) => Event::Listed(seen(read(object))),
        follow::Event::ListEnds => Event::ListEnds,
        follow::Event::Applied(object) => Event::Applied(seen(read(object))),
        follow::Event::Deleted(object) => Event::Deleted(read(object).key),
        follow::Event::Failed { reason, is_final } => Event::Failed { reason, is_final },
        follow::Event::Works => Event::Works,
    };
    follow::follow(config, open).map(event).boxed()
}

fn seen(read: Read) -> Seen {
    let Read { key, version, object } = read;
    let object = object.map_err(|reason| tracing::warn!("{key}: {reason}; it is kept as it was")).ok();
    Seen { key, version, object }
}
