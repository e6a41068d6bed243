//! The objects of the demo: a folder that the control plane follows in place of an API server.

use std::{
    fmt::Write,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::TempDir;

use super::protocol::Protocol;

const SERVICES: &str = include_str!("../../demo/services.yaml");
const PODINFO: &str = include_str!("../../demo/podinfo.yaml");
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
    file: &'static str,
    template: &'static str,
    port: u16,
}

impl Slice {
    fn of(protocol: Protocol) -> Self {
        let (file, template, port) = match protocol {
            Protocol::Http => {
                ("podinfo-endpoints.yaml", include_str!("../../demo/podinfo-endpoints.yaml"), PODINFO_PORT)
            }
            Protocol::Grpc => ("echo-endpoints.yaml", include_str!("../../demo/echo-endpoints.yaml"), ECHO_PORT),
            Protocol::Tcp => {
                ("greeter-endpoints.yaml", include_str!("../../demo/greeter-endpoints.yaml"), GREETER_PORT)
            }
        };
        Self { file, template, port }
    }

    /// With one line for each endpoint. They share a port, as those of any slice do.
    fn with(&self, endpoints: &[SocketAddr]) -> String {
        let port = endpoints.first().map_or(self.port, SocketAddr::port);
        let mut text = self.template.replace(&self.port.to_string(), &port.to_string());
        for endpoint in endpoints {
            let ip = endpoint.ip();
            let (node, zone) = place(endpoint);
            let _ = writeln!(
                text,
                "  - {{addresses: [{ip}], conditions: {{ready: true}}, nodeName: {node}, zone: {zone}}}"
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
        folder.write(
            "nginx-endpoints.yaml",
            &NGINX_ENDPOINTS.replace(&NGINX_PORT.to_string(), &nginx_port.to_string()),
        )?;
        folder.write("podinfo.yaml", PODINFO)?;
        folder.write("echo.yaml", ECHO)?;
        folder.write("greeter.yaml", GREETER)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where podinfo's endpoints stand.
    pub(super) fn endpoints_file(&self) -> PathBuf {
        self.path().join(Slice::of(Protocol::Http).file)
    }

    /// Makes these the endpoints of the Service that speaks this.
    pub(super) fn write_endpoints(&self, protocol: Protocol, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
        let slice = Slice::of(protocol);
        self.write(slice.file, &slice.with(endpoints))
    }

    /// Sets podinfo's policy.
    pub(super) fn write_policy(&self, policy: &str) -> anyhow::Result<()> {
        self.write("podinfo.yaml", &with_policy(policy))
    }

    /// Beside it under a hidden name, then in its place: a reader sees the old file or the new one, never a half.
    fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let (draft, target) = (self.path().join(format!(".{name}")), self.path().join(name));
        let written: io::Result<()> = fs::write(&draft, content).and_then(|()| fs::rename(&draft, &target));
        written.with_context(|| format!("cannot write {}", target.display()))
    }
}

fn with_policy(policy: &str) -> String {
    PODINFO.replace("annotations: {}", &format!("annotations: {{wasmesh.io/policy: {policy}}}"))
}

/// Pods of 127.0.1.0/24 run on the first node, the others on the second, as pods of one node share a range.
fn place(endpoint: &SocketAddr) -> (&'static str, &'static str) {
    match endpoint.ip() {
        std::net::IpAddr::V4(ip) if ip.octets()[2] == 1 => ("worker-1", "zone-a"),
        _ => ("worker-2", "zone-b"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Folder, Slice, with_policy};
    use crate::demo::protocol::Protocol;

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
            let endpoints = "endpoints:
  - {addresses: [127.0.1.16], conditions: {ready: true}, nodeName: worker-1, zone: zone-a}
  - {addresses: [127.0.2.15], conditions: {ready: true}, nodeName: worker-2, zone: zone-b}
";
            assert!(text.ends_with(endpoints), "{text}");
        }
    }

    #[test]
    fn a_policy_is_an_annotation() {
        assert!(with_policy("round-robin").contains("\n  annotations: {wasmesh.io/policy: round-robin}\n"));
    }

    #[test]
    fn files_are_replaced_and_leave_nothing_behind() {
        let folder = Folder::create(2).unwrap();
        for protocol in Protocol::ALL {
            folder.write_endpoints(protocol, &["127.0.1.16:1".parse().unwrap()]).unwrap();
            folder.write_endpoints(protocol, &[]).unwrap();
        }
        folder.write_policy("random").unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let expected = [
            "echo-endpoints.yaml",
            "echo.yaml",
            "greeter-endpoints.yaml",
            "greeter.yaml",
            "nginx-endpoints.yaml",
            "podinfo-endpoints.yaml",
            "podinfo.yaml",
            "services.yaml",
        ];
        assert_eq!(names, expected);
        assert!(std::fs::read_to_string(folder.path().join("nginx-endpoints.yaml")).unwrap().contains("port: 2,"));
    }
}
