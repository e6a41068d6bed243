//! The mesh as it is shipped, on an API server: its manifests, and control planes that may do what these allow.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::{ApiServer, FakePod};
use crate::{FakeProxy, eventually, process::Process, process::binary};

/// The namespace of the installation.
pub const NAMESPACE: &str = "wasmesh-system";
/// The Service, the Deployment and the ServiceAccount of control planes.
const CONTROL_PLANE: &str = "wasmesh-control-plane";

/// The mesh on an API server. Its Deployment has no node to run on: control planes are processes of the test.
pub struct Installation<'a> {
    /// Where it is.
    pub server: &'a ApiServer,
    kubeconfig: PathBuf,
}

impl<'a> Installation<'a> {
    /// Applies the shipped manifests as they are.
    #[track_caller]
    pub fn on(server: &'a ApiServer) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        server.kubectl(&["apply", "--kustomize", &base.display().to_string()], "");
        server.kubectl(&["wait", "--for=condition=Established", "crd/loadbalancingpolicies.wasmesh.io"], "");
        Self { server, kubeconfig: server.account_kubeconfig(NAMESPACE, CONTROL_PLANE) }
    }

    /// Starts a control plane that may do what the shipped roles allow, and nothing more.
    #[track_caller]
    pub fn control_plane(&self, name: &str, options: &[&str]) -> Process {
        let control_plane = Self::control_plane_of(&self.kubeconfig, name, options);
        self.server.adopt(name, control_plane.id());
        control_plane
    }

    /// What says to a control plane where the API server is and who it is there.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Starts a control plane with this kubeconfig, whether the API server is there or not.
    #[track_caller]
    pub fn control_plane_of(kubeconfig: &Path, name: &str, options: &[&str]) -> Process {
        let mut command = Command::new(binary(CONTROL_PLANE));
        command.args(["--source", "kube", "--name", name, "--namespace", NAMESPACE]);
        for listener in ["--discovery-listen", "--admin-listen", "--webhook-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.args(options).env("KUBECONFIG", kubeconfig);
        Process::start(command, &["discovery", "admin", "webhook"])
    }

    /// The same, and waits until it serves.
    #[track_caller]
    pub fn ready_control_plane(&self, name: &str, options: &[&str]) -> Process {
        let control_plane = self.control_plane(name, options);
        eventually("the control plane is ready", || control_plane.admin().is_ready().then_some(()));
        control_plane
    }

    /// What proxies and the API server trust, PEM.
    #[track_caller]
    pub fn ca_bundle(&self) -> String {
        let template = r#"--output=go-template={{index .data "ca.crt" | base64decode}}"#;
        self.server.kubectl(&["--namespace", NAMESPACE, "get", "secret", "wasmesh-ca", template], "")
    }

    /// How a control plane is reached, by whoever trusts the mesh's authority.
    #[track_caller]
    pub fn endpoint(&self, discovery: SocketAddr) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.ca_bundle()));
        let tls = tls.domain_name(format!("{CONTROL_PLANE}.{NAMESPACE}.svc"));
        let endpoint = Endpoint::from_shared(format!("https://{discovery}")).expect("a URL");
        endpoint.tls_config(tls).expect("a bundle of certificates")
    }

    /// Makes a pod with a token to show to control planes, and returns the token.
    #[track_caller]
    pub fn client_pod(&self, namespace: &str, name: &str, node: &str) -> String {
        let (labels, annotations, ports) = (&[], &[], &[]);
        self.server.pod(&FakePod { namespace, name, node, labels, annotations, ips: &["10.244.200.1"], ports });
        let bound = format!("--bound-object-name={name}");
        self.server.token(namespace, "default", "wasmesh", &["--bound-object-kind=Pod", &bound])
    }

    /// Opens the stream of a proxy that shows this token.
    #[track_caller]
    pub fn proxy(&self, control_plane: &Process, token: &str) -> FakeProxy {
        let endpoint = self.endpoint(control_plane.address("discovery"));
        FakeProxy::over(endpoint, token).expect("a stream")
    }
}
