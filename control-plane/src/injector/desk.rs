//! Where questions are answered.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout_at},
};
use wasmesh_core::capture::Cidr;
use wasmesh_injection::{Decision, Facts, Settings, inject, names};

use super::{
    InjectorOptions, events,
    namespaces::Namespaces,
    notes::Notes,
    review::{self, Answer, Question, Subject},
    server::{Asked, Said},
    version::OLDEST,
};
use crate::{certificates::ServingCertificate, pace::Pace};

/// How long after its start the injector expects to hear of the cluster's service ranges.
pub const RANGES_DUE: Duration = Duration::from_secs(10);

/// How long one pod waits for what has to be known: the API server waits five seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is needed to answer.
pub struct Desk {
    /// Owners of pods hear of what was not done.
    pub notes: Notes,
    /// What namespaces demand.
    pub namespaces: Namespaces,
    /// What sidecars are made of.
    pub options: InjectorOptions,
    /// Namespace of this installation.
    pub namespace: String,
    /// What sidecars trust.
    pub certificate: ServingCertificate,
    /// Where Services have their addresses.
    pub service_cidrs: watch::Receiver<Vec<Cidr>>,
    /// Until when that may not be known yet.
    pub ranges_due: Instant,
    /// Whether pods can have native sidecars at all, as soon as that is known.
    pub has_sidecars: watch::Receiver<Option<bool>>,
    /// Whether whoever asks has shown that it is the API server.
    pub knows_callers: bool,
    /// What is logged of pods.
    pub log: Log,
}

/// How much is logged: each pod is a line only as long as they are not too many. The rest is counted.
pub struct Log(Instant, Mutex<Pace>);

impl Log {
    /// Lines in a second, and how many at once after a while without any.
    const RATE: (u32, u32) = (10, 100);

    fn has_room(&self) -> bool {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).allows(self.0.elapsed())
    }
}

impl Default for Log {
    fn default() -> Self {
        Self(Instant::now(), Mutex::new(Pace::new(Self::RATE.0, Self::RATE.1)))
    }
}

impl Desk {
    /// Answers whatever was sent.
    pub async fn answer(&self, asked: Asked, body: Bytes) -> Said {
        match review::read(&body) {
            Ok(question) => Said::Review(review::write(&question.uid, &self.decide(asked, &question).await)),
            Err(no_question) => Said::NoQuestion(no_question.to_string()),
        }
    }

    async fn decide(&self, asked: Asked, question: &Question) -> Answer {
        let pod = match &question.subject {
            Subject::Pod(pod) => pod,
            Subject::Other(what) => {
                let warning = format!("wasmesh: the injector is asked about {what}, and knows only new pods");
                events::other_subject(&warning, self.log.has_room());
                return Answer { warnings: vec![warning], ..Answer::default() };
            }
        };
        match self.has_sidecars().await {
            Some(true) => {}
            Some(false) => {
                let (major, minor) = OLDEST;
                let why = format!("native sidecars need Kubernetes {major}.{minor} or newer");
                return self.left("too-old", &why, Vec::new());
            }
            None => {
                let why = "it is not known yet whether this Kubernetes has native sidecars";
                return self.left("version-unknown", why, Vec::new());
            }
        }
        let known = self.namespaces.facts(&question.namespace).await;
        // Who asks for the namespace knows its label, even if it has not come here yet.
        let says_so = known.opted_in;
        let facts = Facts { opted_in: says_so || asked == Asked::ForNamespace, ..known };
        let decision = inject(pod, &facts, &self.settings().await);
        if let Some((reason, note)) = note(&decision).filter(|_| !question.dry_run) {
            // Whoever asks may be a stranger, and must not write into namespaces that have nothing to do with the mesh.
            if says_so || self.knows_callers {
                self.notes.tell(&question.namespace, pod, reason, &note);
            } else {
                events::note_dropped("namespace");
            }
        }
        self.of(decision)
    }

    async fn has_sidecars(&self) -> Option<bool> {
        let mut known = self.has_sidecars.clone();
        let known = timeout_at(Instant::now() + PATIENCE, known.wait_for(Option::is_some)).await;
        known.ok()?.ok().and_then(|known| *known)
    }

    async fn settings(&self) -> Settings {
        let InjectorOptions { proxy_image, cluster_domain, sidecar_resources, .. } = &self.options;
        Settings {
            image: proxy_image.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            control_plane: names::control_plane(&self.namespace, cluster_domain),
            ca_bundle: self.certificate.ca_bundle().to_string(),
            service_cidrs: self.service_ranges().await,
            cluster_domain: cluster_domain.clone(),
            resources: sidecar_resources.clone(),
        }
    }

    /// A pod that is made before they are known would be without capture for all its life, so it waits a little.
    async fn service_ranges(&self) -> Vec<Cidr> {
        let mut ranges = self.service_cidrs.clone();
        let deadline = self.ranges_due.min(Instant::now() + PATIENCE);
        // Whether they have come or not, and whether or not anybody would still say so, what is there is all there is.
        let _ = timeout_at(deadline, ranges.wait_for(|ranges| !ranges.is_empty())).await;
        ranges.borrow().clone()
    }

    fn of(&self, decision: Decision) -> Answer {
        match decision {
            Decision::Inject(injection) => {
                events::injected(&injection.warnings);
                Answer { patch: Some(injection.patch), warnings: named(injection.warnings), refusal: None }
            }
            Decision::Leave(leave, warnings) if leave.is_surprising() => {
                self.left(leave.code(), &leave.to_string(), warnings)
            }
            Decision::Leave(leave, warnings) => {
                events::left(leave.code());
                Answer { warnings: named(warnings), ..Answer::default() }
            }
            Decision::Refuse(refuse) => {
                events::refused(refuse.code(), &refuse.to_string(), self.log.has_room());
                Answer { refusal: Some(format!("wasmesh: {refuse}")), ..Answer::default() }
            }
        }
    }

    fn left(&self, code: &'static str, why: &str, mut warnings: Vec<String>) -> Answer {
        events::left_surprisingly(code, why, self.log.has_room());
        warnings.push(format!("this pod stays outside of the mesh: {why}"));
        Answer { warnings: named(warnings), ..Answer::default() }
    }
}

/// What the owner of a pod has to be told: a reason and a text.
fn note(decision: &Decision) -> Option<(&'static str, String)> {
    match decision {
        Decision::Inject(injection) if !injection.warnings.is_empty() => {
            Some(("InjectedInPart", injection.warnings.join("; ")))
        }
        Decision::Leave(leave, _) if leave.is_surprising() => {
            Some(("NotInjected", format!("pods stay outside of the mesh: {leave}")))
        }
        Decision::Refuse(refuse) => Some(("InjectionRefused", refuse.to_string())),
        Decision::Inject(_) | Decision::Leave(..) => None,
    }
}

/// Several webhooks may warn about the same pod.
fn named(warnings: Vec<String>) -> Vec<String> {
    warnings.into_iter().map(|warning| format!("wasmesh: {warning}")).collect()
}
