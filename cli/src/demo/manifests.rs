//! The objects of the demo: a folder that the control plane follows in place of an API server.

use std::{
    fmt::Write,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::TempDir;

const SERVICES: &str = include_str!("../../demo/services.yaml");
const PODINFO: &str = include_str!("../../demo/podinfo.yaml");
const PODINFO_ENDPOINTS: &str = include_str!("../../demo/podinfo-endpoints.yaml");
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

/// The pods behind clusterip-service and nginx-headless.
pub(super) const NGINX_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 1, 26), Ipv4Addr::new(127, 0, 2, 25)];
pub(super) const NGINX_PORT: u16 = 18080;

/// The folder; it is removed when this is dropped.
pub(super) struct Folder(TempDir);

impl Folder {
    /// Writes the objects of the beginning: podinfo has these endpoints and no annotation.
    pub(super) fn create(podinfo: &[SocketAddr], nginx_port: u16) -> anyhow::Result<Self> {
        let folder = Self(tempfile::Builder::new().prefix("wasmesh-demo-").tempdir().context("no temporary folder")?);
        folder.write("services.yaml", SERVICES)?;
        folder.write(
            "nginx-endpoints.yaml",
            &NGINX_ENDPOINTS.replace(&NGINX_PORT.to_string(), &nginx_port.to_string()),
        )?;
        folder.write("podinfo.yaml", PODINFO)?;
        folder.write_endpoints(podinfo)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where podinfo's endpoints stand.
    pub(super) fn endpoints_file(&self) -> PathBuf {
        self.path().join("podinfo-endpoints.yaml")
    }

    /// Makes these the endpoints of podinfo.
    pub(super) fn write_endpoints(&self, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
        self.write("podinfo-endpoints.yaml", &endpoint_slice(endpoints))
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

/// The slice with one line for each endpoint. They share a port, as those of any slice do.
fn endpoint_slice(endpoints: &[SocketAddr]) -> String {
    let port = endpoints.first().map_or(PODINFO_PORT, SocketAddr::port);
    let mut text = PODINFO_ENDPOINTS.replace(&PODINFO_PORT.to_string(), &port.to_string());
    for endpoint in endpoints {
        let ip = endpoint.ip();
        let (node, zone) = place(endpoint);
        let _ =
            writeln!(text, "  - {{addresses: [{ip}], conditions: {{ready: true}}, nodeName: {node}, zone: {zone}}}");
    }
    text
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
    use super::{Folder, endpoint_slice, with_policy};

    #[test]
    fn a_slice_lists_its_endpoints() {
        let text = endpoint_slice(&["127.0.1.16:4444".parse().unwrap(), "127.0.2.15:4444".parse().unwrap()]);
        assert!(text.contains("- {name: http, port: 4444, protocol: TCP}"), "{text}");
        let endpoints = "endpoints:
  - {addresses: [127.0.1.16], conditions: {ready: true}, nodeName: worker-1, zone: zone-a}
  - {addresses: [127.0.2.15], conditions: {ready: true}, nodeName: worker-2, zone: zone-b}
";
        assert!(text.ends_with(endpoints), "{text}");
    }

    #[test]
    fn a_policy_is_an_annotation() {
        assert!(with_policy("round-robin").contains("\n  annotations: {wasmesh.io/policy: round-robin}\n"));
    }

    #[test]
    fn files_are_replaced_and_leave_nothing_behind() {
        let folder = Folder::create(&["127.0.1.16:1".parse().unwrap()], 2).unwrap();
        folder.write_endpoints(&[]).unwrap();
        folder.write_policy("random").unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["nginx-endpoints.yaml", "podinfo-endpoints.yaml", "podinfo.yaml", "services.yaml"]);
        assert!(std::fs::read_to_string(folder.path().join("nginx-endpoints.yaml")).unwrap().contains("port: 2,"));
    }
}
