//! The webhook and the certificates: whether the API server and the sidecars can trust the control plane.

use std::time::{Duration, SystemTime};

use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use x509_parser::pem::parse_x509_pem;

use super::{
    super::{
        facts::{ClusterFacts, MeshFacts},
        finding::Finding,
    },
    advice, name,
};
use crate::kubernetes::sidecar;

const WEBHOOK: &str = "webhook";
const CERTIFICATE: &str = "certificate";

/// The control plane renews a certificate of 90 days when 30 are left.
const OVERDUE: Duration = Duration::from_secs(25 * 24 * 60 * 60);

const LOG: &str = "look at `kubectl -n wasmesh-system logs deploy/wasmesh-control-plane`";

/// Whether pods get their sidecars.
pub(super) fn webhook(facts: &ClusterFacts, mesh: &MeshFacts) -> Vec<Finding> {
    let webhooks = match &facts.webhooks {
        Ok(webhooks) => webhooks,
        Err(why) => return vec![Finding::unknown(WEBHOOK, why)],
    };
    let Some(ours) = webhooks.iter().find(|it| name(&it.metadata) == "wasmesh-injector") else {
        return vec![Finding::error(
            WEBHOOK,
            "wasmesh-injector is not there, so no pod gets a sidecar",
            advice::install(facts),
        )];
    };
    let mut findings: Vec<_> = trusted(ours, mesh).into_iter().collect();
    let fails = advice::fails(ours);
    if fails {
        let says = "pods that ask for the mesh are not made while no control plane answers (failurePolicy: Fail)";
        let install = advice::install_with(facts, &["--failure-policy=Ignore".to_owned()]);
        findings.push(Finding::note(WEBHOOK, says, format!("unless it is meant so: {install}")));
    }
    if findings.iter().all(|finding| finding.fix.is_empty() || fails) {
        findings.push(answers(mesh));
    }
    findings
}

/// What keeps the API server from trusting the webhook.
fn trusted(webhook: &MutatingWebhookConfiguration, mesh: &MeshFacts) -> Option<Finding> {
    let bundles = webhook.webhooks.iter().flatten().map(|webhook| webhook.client_config.ca_bundle.as_ref());
    let bundles: Vec<_> = bundles.map(|bundle| bundle.filter(|bundle| !bundle.0.is_empty())).collect();
    if bundles.iter().any(Option::is_none) {
        let says = "wasmesh-injector has no caBundle, so the API server does not trust it";
        return Some(Finding::error(WEBHOOK, says, format!("the control plane's leader writes it: {LOG}")));
    }
    let ca = mesh.secret.as_ref().ok()?.as_ref().and_then(|secret| entry(secret, "ca.crt"))?;
    let is_other = bundles.into_iter().flatten().any(|bundle| bundle.0.trim_ascii() != ca.0.trim_ascii());
    is_other.then(|| {
        let says = "the caBundle of wasmesh-injector is not the ca.crt of Secret wasmesh-ca";
        Finding::error(WEBHOOK, says, format!("the control plane's leader mends it: {LOG}"))
    })
}

/// What has become of a pod that asked for the mesh.
fn answers(mesh: &MeshFacts) -> Finding {
    match &mesh.trial {
        Err(why) => Finding::unknown(WEBHOOK, why),
        Ok(pod) if sidecar(pod).is_some() => Finding::good(WEBHOOK, "answers: a pod on trial has got its sidecar"),
        Ok(_) => Finding::error(
            WEBHOOK,
            "a pod on trial that asks for the mesh has got no sidecar: the API server does not get an answer",
            format!(
                "{LOG}; see that the API server may connect to port 19017 of the control plane's pods (a firewall of a private \
                 cluster for instance)"
            ),
        ),
    }
}

/// Whether the control plane's certificate is good, and is renewed.
pub(super) fn certificate(mesh: &MeshFacts) -> Finding {
    let secret = match &mesh.secret {
        Err(why) => return Finding::unknown(CERTIFICATE, why),
        Ok(None) => {
            let fix = format!("the control plane makes it when it starts: {LOG}");
            return Finding::error(CERTIFICATE, "there is no Secret wasmesh-ca", fix);
        }
        Ok(Some(secret)) => secret,
    };
    for key in ["ca.crt", "tls.crt"] {
        let Some(end) = entry(secret, key).and_then(|pem| end(&pem.0)) else {
            return Finding::error(CERTIFICATE, format!("{key} of Secret wasmesh-ca is no certificate"), LOG);
        };
        let Ok(left) = end.duration_since(mesh.now) else {
            return Finding::error(CERTIFICATE, format!("{key} of Secret wasmesh-ca has expired"), LOG);
        };
        let days = left.as_secs() / 86_400;
        if left < OVERDUE {
            let says = format!("{key} of Secret wasmesh-ca expires in {days} days and should have been renewed");
            return Finding::warning(CERTIFICATE, says, LOG);
        }
        if key == "tls.crt" {
            return Finding::good(CERTIFICATE, format!("is good for {days} more days"));
        }
    }
    Finding::unknown(CERTIFICATE, "there is none")
}

fn entry<'a>(secret: &'a Secret, key: &str) -> Option<&'a ByteString> {
    secret.data.as_ref()?.get(key)
}

fn end(pem: &[u8]) -> Option<SystemTime> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let end = u64::try_from(pem.parse_x509().ok()?.validity().not_after.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a test writes its objects down where they are used")]
mod tests {
    use serde_json::{Value, json};

    use super::{super::super::finding::Level, super::tests::*, *};

    /// Good for a year.
    const PEM: &str = include_str!("../testdata/certificate.pem");

    fn at(days_left: i64) -> SystemTime {
        let end = end(PEM.as_bytes()).unwrap();
        let day = Duration::from_secs(86_400);
        let days = u32::try_from(days_left.unsigned_abs()).unwrap();
        if days_left < 0 { end + day * days } else { end - day * days }
    }

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Default::default() }
    }

    fn injector(ca: &str, failure_policy: &str) -> MutatingWebhookConfiguration {
        let mut injector: MutatingWebhookConfiguration = object(json!({
            "metadata": { "name": "wasmesh-injector" },
            "webhooks": [{
                "name": "pod.injector.wasmesh.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {}, "failurePolicy": failure_policy,
            }],
        }));
        let bundle = (!ca.is_empty()).then(|| ByteString(ca.as_bytes().to_vec()));
        injector.webhooks.as_mut().unwrap()[0].client_config.ca_bundle = bundle;
        injector
    }

    fn pod(init_containers: Value) -> k8s_openapi::api::core::v1::Pod {
        object(json!({ "spec": { "initContainers": init_containers, "containers": [{ "name": "check" }] } }))
    }

    #[test]
    fn a_webhook_is_there_trusted_and_answers() {
        let check = |webhooks: Vec<MutatingWebhookConfiguration>, trial, expected: &[Level]| {
            let mesh = MeshFacts { trial, secret: Ok(Some(secret(&[("ca.crt", PEM)]))), ..mesh() };
            let findings = webhook(&ClusterFacts { webhooks: Ok(webhooks), ..cluster() }, &mesh);
            assert_eq!(levels(&findings), expected, "{findings:?}");
        };
        let meshed = || Ok(pod(json!([{ "name": "wasmesh-proxy" }])));
        check(vec![], meshed(), &[Level::Error]);
        check(vec![injector("", "Ignore")], meshed(), &[Level::Error]);
        check(vec![injector("another", "Ignore")], meshed(), &[Level::Error]);
        check(vec![injector(PEM, "Ignore")], meshed(), &[Level::Good]);
        check(vec![injector(PEM, "Fail")], meshed(), &[Level::Note, Level::Good]);
        check(vec![injector(PEM, "Ignore")], Ok(pod(json!([]))), &[Level::Error]);
        check(vec![injector(PEM, "Ignore")], Err("forbidden".to_owned()), &[Level::Note]);
    }

    #[test]
    fn a_certificate_is_good_until_it_should_have_been_renewed() {
        let check = |secret: Option<Secret>, now, level| {
            let finding = certificate(&MeshFacts { secret: Ok(secret), now, ..mesh() });
            assert_eq!(finding.level, level, "{finding:?}");
        };
        let good = || Some(secret(&[("ca.crt", PEM), ("tls.crt", PEM)]));
        check(good(), at(60), Level::Good);
        check(good(), at(20), Level::Warning);
        check(good(), at(-1), Level::Error);
        check(Some(secret(&[("ca.crt", PEM), ("tls.crt", "nonsense")])), at(60), Level::Error);
        check(Some(Secret::default()), at(60), Level::Error);
        check(None, at(60), Level::Error);
    }
}
