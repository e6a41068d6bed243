//! Tells the owner of pods, in an event, that they are not in the mesh, or not wholly, and why. Whoever makes a pod by hand is
//! told in the API server's answer; a ReplicaSet or a Job reads no answers.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};

use super::events;

/// How many are being written at once; what comes meanwhile is not written: there is the log, and the next pod.
const AT_ONCE: usize = 16;

const PATIENCE: Duration = Duration::from_secs(10);

/// What Kubernetes takes.
const MAX_NOTE: usize = 1000;

/// Writes events.
pub struct Notes {
    recorder: Recorder,
    slots: Arc<Semaphore>,
}

impl Notes {
    /// In the name of this replica.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        let reporter = Reporter { controller: "wasmesh.io/injector".to_owned(), instance: Some(name) };
        Self { recorder: Recorder::new(client, reporter), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Tells the controller of a pod, if it has one, without waiting for it. Must be called inside a runtime.
    pub fn tell(&self, namespace: &str, pod: &Value, reason: &'static str, mut note: String) {
        let Some(owner) = owner(namespace, pod) else { return };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
        if let Some((end, _)) = note.char_indices().nth(MAX_NOTE) {
            note.truncate(end);
        }
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Inject".to_owned(),
            secondary: None,
        };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            match timeout(PATIENCE, recorder.publish(&event, &owner)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => events::note_lost(&error.to_string()),
                Err(_) => events::note_lost("the API server does not answer"),
            }
            drop(slot);
        });
    }
}

/// The controller that makes a pod.
fn owner(namespace: &str, pod: &Value) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let controller = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    let text = |name: &str| controller.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    })
}
