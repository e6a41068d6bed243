//! How clients are told where the API server is and who they are. JSON, which is YAML.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{ground::Ground, pki::Identity};

/// Writes one for whoever has this certificate.
pub(super) fn of_certificate(ground: &Ground, file: &str, server: &str, ca: &Path, identity: &Identity) -> PathBuf {
    let user = json!({ "client-certificate": identity.certificate, "client-key": identity.key });
    ground.write(file, &kubeconfig(server, ca, &user))
}

/// Writes one for whoever has this token.
pub(super) fn of_token(ground: &Ground, file: &str, server: &str, ca: &Path, token: &str) -> PathBuf {
    ground.write(file, &kubeconfig(server, ca, &json!({ "token": token })))
}

/// Writes what has the API server show this certificate to the webhook of a Service (`NAME.NAMESPACE.svc`); for
/// `--admission-control-config-file`.
pub(super) fn of_webhook(ground: &Ground, service: &str, identity: &Identity) -> PathBuf {
    let user = json!({ "client-certificate": identity.certificate, "client-key": identity.key });
    let kubeconfig = json!({ "apiVersion": "v1", "kind": "Config", "users": [{ "name": service, "user": user }] });
    let kubeconfig = ground.write("webhooks.json", &kubeconfig.to_string());
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": kubeconfig,
    });
    let admission = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{ "name": "MutatingAdmissionWebhook", "configuration": configuration }],
    });
    ground.write("admission.json", &admission.to_string())
}

fn kubeconfig(server: &str, ca: &Path, user: &Value) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    kubeconfig.to_string()
}
