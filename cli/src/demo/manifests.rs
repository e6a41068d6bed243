//! The objects of the demo: a folder that the control plane follows in place of an API server.

use std::{
    fmt::Write,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::TempDir;

use super::{own::Own, protocol::Protocol};

const SERVICES: &str = include_str!("../../demo/services.yaml");
const PODINFO: &str = include_str!("../../demo/podinfo.yaml");
const PODINFO_PODS: &str = include_str!("../../demo/podinfo-pods.yaml");
const ECHO: &str = include_str!("../../demo/echo.yaml");
const GREETER: &str = include_str!("../../demo/greeter.yaml");
const NGINX_ENDPOINTS: &str = include_str!("../../demo/nginx-endpoints.yaml");

/// The pods behind podinfo, and where they usually listen.
pub(super) const PODINFO_ADDRESSES: [Ipv4Addr; 5] = [
    Ipv4Addr::new(127, 0, 1, 16),
    Ipv4Addr::new(127, 0, 2, 15),
    Ipv4Addr::new(127, 0, 2, 16),
    Ipv4Addr::new(127, 0, 2, 17),
    Ipv4Addr::new(127, 0, 1, 18),
];
pub(super) const PODINFO_PORT: u16 = 9898;

/// The pods behind echo.
pub(super) const ECHO_ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 1, 36), Ipv4Addr::new(127, 0, 2, 35), Ipv4Addr::new(127, 0, 2, 36)];
pub(super) const ECHO_PORT: u16 = 50051;

/// The pods behind greeter.
pub(super) const GREETER_ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 1, 46), Ipv4Addr::new(127, 0, 2, 45), Ipv4Addr::new(127, 0, 2, 46)];
pub(super) const GREETER_PORT: u16 = 4001;

/// The pods behind clusterip-service and nginx-headless.
pub(super) const NGINX_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 1, 26), Ipv4Addr::new(127, 0, 2, 25)];
pub(super) const NGINX_PORT: u16 = 18080;

/// An EndpointSlice before its endpoints are in it.
struct Slice {
    service: &'static str,
    template: &'static str,
    port: u16,
}

impl Slice {
    fn of(protocol: Protocol) -> Self {
        let (template, port) = match protocol {
            Protocol::Http => (include_str!("../../demo/podinfo-endpoints.yaml"), PODINFO_PORT),
            Protocol::Grpc => (include_str!("../../demo/echo-endpoints.yaml"), ECHO_PORT),
            Protocol::Tcp => (include_str!("../../demo/greeter-endpoints.yaml"), GREETER_PORT),
        };
        Self { service: protocol.service(), template, port }
    }

    fn file(&self) -> String {
        format!("{}-endpoints.yaml", self.service)
    }

    /// With one line for each endpoint. They share a port, as those of any slice do.
    fn with(&self, endpoints: &[SocketAddr]) -> String {
        let port = endpoints.first().map_or(self.port, SocketAddr::port);
        let mut text = self.template.replace(&self.port.to_string(), &port.to_string());
        for endpoint in endpoints {
            let ip = endpoint.ip();
            let (node, zone) = place(endpoint);
            let pod = pod(self.service, ip);
            let _ = writeln!(
                text,
                "  - {{addresses: [{ip}], conditions: {{ready: true}}, nodeName: {node}, zone: {zone}, targetRef: {{kind: \
                 Pod, name: {pod}}}}}"
            );
        }
        text
    }
}

/// The folder; it is removed when this is dropped.
pub(super) struct Folder(TempDir);

impl Folder {
    /// Writes the objects of the beginning, all but the slices of the Services that get traffic.
    pub(super) fn create(nginx_port: u16) -> anyhow::Result<Self> {
        let folder = Self(tempfile::Builder::new().prefix("wasmesh-demo-").tempdir().context("no temporary folder")?);
        folder.write("services.yaml", SERVICES)?;
        folder
            .write("nginx-endpoints.yaml", NGINX_ENDPOINTS.replace(&NGINX_PORT.to_string(), &nginx_port.to_string()))?;
        folder.write("podinfo.yaml", PODINFO)?;
        folder.write("podinfo-pods.yaml", PODINFO_PODS)?;
        folder.write("echo.yaml", ECHO)?;
        folder.write("greeter.yaml", GREETER)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where podinfo's endpoints stand.
    pub(super) fn endpoints_file(&self) -> PathBuf {
        self.path().join(Slice::of(Protocol::Http).file())
    }

    /// Makes these the endpoints of the Service that speaks this.
    pub(super) fn write_endpoints(&self, protocol: Protocol, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
        let slice = Slice::of(protocol);
        self.write(&slice.file(), slice.with(endpoints))
    }

    /// Whether they are that already.
    pub(super) fn has_endpoints(&self, protocol: Protocol, endpoints: &[SocketAddr]) -> bool {
        let slice = Slice::of(protocol);
        fs::read_to_string(self.path().join(slice.file())).is_ok_and(|text| text == slice.with(endpoints))
    }

    /// Sets podinfo's policy.
    pub(super) fn write_policy(&self, policy: &str) -> anyhow::Result<()> {
        self.write("podinfo.yaml", with_policy(policy))
    }

    /// Declares a policy of the user's own, its modules first: an object that names what is not there is a problem.
    pub(super) fn write_own(&self, protocol: Protocol, own: &Own) -> anyhow::Result<()> {
        for module in own.modules() {
            self.write(&module.file(), module.bytes)?;
        }
        self.write(&policy_file(protocol), own.object(protocol))
    }

    /// Where it is declared.
    pub(super) fn own_file(&self, protocol: Protocol) -> PathBuf {
        self.path().join(policy_file(protocol))
    }

    /// Beside it under a hidden name, then in its place: a reader sees the old file or the new one, never a half.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let target = self.path().join(name);
        let replaced = || -> io::Result<()> {
            let folder = target.parent().unwrap_or(self.path());
            let draft = folder.join(format!(".{}", target.file_name().unwrap_or_default().display()));
            fs::create_dir_all(folder)?;
            fs::write(&draft, content)?;
            fs::rename(&draft, &target)
        };
        replaced().with_context(|| format!("cannot write {}", target.display()))
    }
}

fn policy_file(protocol: Protocol) -> String {
    format!("{}-policy.yaml", protocol.service())
}

/// By the part of its address that is its own.
fn pod(service: &str, ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{service}-{}-{}", ip.octets()[2], ip.octets()[3]),
        IpAddr::V6(_) => service.to_owned(),
    }
}

fn with_policy(policy: &str) -> String {
    PODINFO.replace("annotations: {}", &format!("annotations: {{wasmesh.io/policy: {policy}}}"))
}

/// Pods of 127.0.1.0/24 run on the first node, the others on the second, as pods of one node share a range.
fn place(endpoint: &SocketAddr) -> (&'static str, &'static str) {
    match endpoint.ip() {
        IpAddr::V4(ip) if ip.octets()[2] == 1 => ("worker-1", "zone-a"),
        _ => ("worker-2", "zone-b"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Folder, PODINFO_ADDRESSES, PODINFO_PODS, Slice, pod, with_policy};
    use crate::demo::{
        own::{self, Own, Program},
        protocol::Protocol,
    };

    #[test]
    fn a_slice_lists_its_endpoints() {
        let endpoints = ["127.0.1.16:4444".parse().unwrap(), "127.0.2.15:4444".parse().unwrap()];
        for (protocol, port) in [
            (Protocol::Http, "- {name: http, port: 4444, protocol: TCP}"),
            (Protocol::Grpc, "- {name: calls, port: 4444, protocol: TCP, appProtocol: kubernetes.io/h2c}"),
            (Protocol::Tcp, "- {name: \"\", port: 4444, protocol: TCP}"),
        ] {
            let text = Slice::of(protocol).with(&endpoints);
            assert!(text.contains(port), "{text}");
            let service = protocol.service();
            let endpoints = format!(
                "endpoints:
  - {{addresses: [127.0.1.16], conditions: {{ready: true}}, nodeName: worker-1, zone: zone-a, targetRef: {{kind: Pod, name: \
                 {service}-1-16}}}}
  - {{addresses: [127.0.2.15], conditions: {{ready: true}}, nodeName: worker-2, zone: zone-b, targetRef: {{kind: Pod, name: \
                 {service}-2-15}}}}
"
            );
            assert!(text.ends_with(&endpoints), "{text}");
        }
    }

    #[test]
    fn a_policy_is_an_annotation() {
        assert!(with_policy("round-robin").contains("\n  annotations: {wasmesh.io/policy: round-robin}\n"));
    }

    #[test]
    fn every_pod_has_its_labels() {
        for address in PODINFO_ADDRESSES {
            let name = format!("name: {},", pod("podinfo", address.into()));
            assert_eq!(PODINFO_PODS.matches(&name).count(), 1, "{name}");
        }
    }

    #[test]
    fn files_are_replaced_and_leave_nothing_behind() {
        let folder = Folder::create(2).unwrap();
        for protocol in Protocol::ALL {
            folder.write_endpoints(protocol, &["127.0.1.16:1".parse().unwrap()]).unwrap();
            folder.write_endpoints(protocol, &[]).unwrap();
            assert!(folder.has_endpoints(protocol, &[]));
            assert!(!folder.has_endpoints(protocol, &["127.0.1.16:1".parse().unwrap()]));
        }
        folder.write_policy("random").unwrap();
        folder.write_own(Protocol::Grpc, &Own::of(Program::of(own::SPIN))).unwrap();
        let names = |path: &std::path::Path| {
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let expected = [
            "echo-endpoints.yaml",
            "echo-policy.yaml",
            "echo.yaml",
            "greeter-endpoints.yaml",
            "greeter.yaml",
            "nginx-endpoints.yaml",
            "podinfo-endpoints.yaml",
            "podinfo-pods.yaml",
            "podinfo.yaml",
            "policies",
            "services.yaml",
        ];
        assert_eq!(names(folder.path()), expected);
        assert_eq!(names(&folder.path().join("policies/hostile")), ["spin.wasm"]);
        assert_eq!(folder.own_file(Protocol::Grpc), folder.path().join("echo-policy.yaml"));
        assert!(std::fs::read_to_string(folder.path().join("nginx-endpoints.yaml")).unwrap().contains("port: 2,"));
    }
}
