//! Tells the owner of pods, in an event, that they are not in the mesh, or not wholly, and why. Whoever makes a pod by hand is
//! told in the API server's answer; a ReplicaSet or a Job reads no answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};

use super::events;
use crate::pace::Pace;

/// How many are being written at once; what comes meanwhile is not written: there is the log, and the next pod.
const AT_ONCE: usize = 16;

const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that Kubernetes takes.
const MAX_NOTE: usize = 1024;

/// How many are written in a second, and how many at once after a while without any: for all namespaces, and for each. A
/// rollout says the same of each pod of an owner, and Kubernetes counts up what is the same.
const IN_ALL: (u32, u32) = (10, 100);
const PER_NAMESPACE: (u32, u32) = (1, 20);

/// Of how many namespaces it is known what has been written in the last seconds.
const MAX_NAMESPACES: usize = 1024;

/// Writes events.
pub struct Notes {
    recorder: Recorder,
    slots: Arc<Semaphore>,
    started: Instant,
    rates: Mutex<Rates>,
}

impl Notes {
    /// In the name of this replica.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        let reporter = Reporter { controller: "wasmesh.io/injector".to_owned(), instance: Some(name) };
        Self {
            recorder: Recorder::new(client, reporter),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            started: Instant::now(),
            rates: Mutex::new(Rates::default()),
        }
    }

    /// Tells the controller of a pod, if it has one, without waiting for it. Must be called inside a runtime.
    pub fn tell(&self, namespace: &str, pod: &Value, reason: &'static str, note: &str) {
        let Some(owner) = owner(namespace, pod) else { return };
        let now = self.started.elapsed();
        let is_allowed = self.rates.lock().unwrap_or_else(PoisonError::into_inner).allow(namespace, now);
        let Some(slot) = is_allowed.then(|| Arc::clone(&self.slots).try_acquire_owned().ok()).flatten() else {
            return events::note_dropped("rate");
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(shortened(note, MAX_NOTE)),
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

/// How fast events are written. Pure: time is passed in, as the time since some fixed moment.
struct Rates {
    all: Pace,
    namespaces: HashMap<String, Pace>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { all: Pace::new(IN_ALL.0, IN_ALL.1), namespaces: HashMap::new() }
    }
}

impl Rates {
    fn allow(&mut self, namespace: &str, now: Duration) -> bool {
        if self.namespaces.len() >= MAX_NAMESPACES {
            // What is forgotten is as if it had never been.
            self.namespaces.retain(|_, pace| !pace.is_full(now));
            if self.namespaces.len() >= MAX_NAMESPACES {
                return false;
            }
        }
        let own = self.namespaces.entry(namespace.to_owned());
        let own = own.or_insert_with(|| Pace::new(PER_NAMESPACE.0, PER_NAMESPACE.1));
        own.allows(now) && self.all.allows(now)
    }
}

/// As much of a text as fits into so many bytes.
fn shortened(text: &str, bytes: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..end])
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{IN_ALL, MAX_NOTE, PER_NAMESPACE, Rates, shortened};

    #[test]
    fn a_note_has_no_more_bytes_than_kubernetes_takes() {
        assert_eq!(shortened("short", MAX_NOTE), "short");
        for text in ["x".repeat(2000), "é".repeat(700), "🦀".repeat(300)] {
            let short = shortened(&text, MAX_NOTE);
            assert!(short.len() <= MAX_NOTE && short.len() > MAX_NOTE - 8, "{}", short.len());
            assert!(short.ends_with('…'));
        }
    }

    #[test]
    fn one_namespace_does_not_take_what_is_for_all() {
        let mut rates = Rates::default();
        let written = (0..1000).filter(|_| rates.allow("noisy", Duration::ZERO)).count();
        assert_eq!(written, PER_NAMESPACE.1 as usize);
        assert!(rates.allow("quiet", Duration::ZERO));
        assert!(rates.allow("noisy", Duration::from_secs(1)));
    }

    #[test]
    fn all_namespaces_together_have_a_rate() {
        let mut rates = Rates::default();
        let written = (0..5000).filter(|n| rates.allow(&format!("namespace-{n}"), Duration::ZERO)).count();
        assert_eq!(written, IN_ALL.1 as usize);
        assert!(rates.allow("another", Duration::from_secs(60)), "what is long ago is forgotten");
    }
}
