//! Where questions are answered.

use bytes::Bytes;
use serde_json::Value;
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
use crate::certificates::ServingCertificate;

/// How long after its start the injector expects to hear of the cluster's service ranges.
pub const RANGES_DUE: Duration = Duration::from_secs(10);

/// How long one pod waits for them: the API server waits five seconds.
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
    /// Whether pods can have native sidecars at all.
    pub has_sidecars: bool,
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
                events::other_subject(&warning);
                return Answer { warnings: vec![warning], ..Answer::default() };
            }
        };
        if !self.has_sidecars {
            let (major, minor) = OLDEST;
            return left("too-old", &format!("native sidecars need Kubernetes {major}.{minor} or newer"), Vec::new());
        }
        let known = self.namespaces.facts(&question.namespace).await;
        // Who asks for the namespace knows its label, even if it has not come here yet.
        let facts = Facts { opted_in: known.opted_in || asked == Asked::ForNamespace, ..known };
        let decision = inject(pod, &facts, &self.settings().await);
        if !question.dry_run {
            self.tell(&question.namespace, pod, &decision);
        }
        of(decision)
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

    fn tell(&self, namespace: &str, pod: &Value, decision: &Decision) {
        match decision {
            Decision::Inject(injection) if !injection.warnings.is_empty() => {
                self.notes.tell(namespace, pod, "InjectedInPart", injection.warnings.join("; "));
            }
            Decision::Leave(leave, _) if leave.is_surprising() => {
                self.notes.tell(namespace, pod, "NotInjected", format!("pods stay outside of the mesh: {leave}"));
            }
            Decision::Refuse(refuse) => self.notes.tell(namespace, pod, "InjectionRefused", refuse.to_string()),
            Decision::Inject(_) | Decision::Leave(..) => {}
        }
    }
}

fn of(decision: Decision) -> Answer {
    match decision {
        Decision::Inject(injection) => {
            events::injected(&injection.warnings);
            Answer { patch: Some(injection.patch), warnings: named(injection.warnings), refusal: None }
        }
        Decision::Leave(leave, warnings) if leave.is_surprising() => left(leave.code(), &leave.to_string(), warnings),
        Decision::Leave(leave, warnings) => {
            events::left(leave.code());
            Answer { warnings: named(warnings), ..Answer::default() }
        }
        Decision::Refuse(refuse) => {
            events::refused(refuse.code(), &refuse.to_string());
            Answer { refusal: Some(format!("wasmesh: {refuse}")), ..Answer::default() }
        }
    }
}

fn left(code: &'static str, why: &str, mut warnings: Vec<String>) -> Answer {
    events::left_surprisingly(code, why);
    warnings.push(format!("this pod stays outside of the mesh: {why}"));
    Answer { warnings: named(warnings), ..Answer::default() }
}

/// Several webhooks may warn about the same pod.
fn named(warnings: Vec<String>) -> Vec<String> {
    warnings.into_iter().map(|warning| format!("wasmesh: {warning}")).collect()
}
