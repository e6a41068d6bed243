//! What a pod's annotations wish for. A wish that cannot be read costs itself, not the pod.

use std::{fmt::Display, str::FromStr};

use wasmesh_core::capture::Cidr;

use crate::{
    names::{
        CAPTURE_DNS_ANNOTATION, DISABLED, ENABLED, EXCLUDE_CIDRS_ANNOTATION, EXCLUDE_PORTS_ANNOTATION,
        INCLUDE_CIDRS_ANNOTATION,
    },
    pod::Pod,
};

/// What is captured besides, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    pub(crate) exclude_ports: Vec<u16>,
    pub(crate) exclude_cidrs: Vec<Cidr>,
    pub(crate) include_cidrs: Vec<Cidr>,
    pub(crate) dns: bool,
}

/// A port that something can be sent to.
struct Port(u16);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is no port: write numbers from 1 to 65535")),
            Ok(port) => Ok(Self(port)),
        }
    }
}

impl Wishes {
    /// Reads the annotations of a pod.
    pub(crate) fn of(pod: &Pod<'_>, warnings: &mut Vec<String>) -> Self {
        let ports: Vec<Port> = list(pod, EXCLUDE_PORTS_ANNOTATION, warnings);
        Self {
            exclude_ports: ports.into_iter().map(|Port(port)| port).collect(),
            exclude_cidrs: list(pod, EXCLUDE_CIDRS_ANNOTATION, warnings),
            include_cidrs: list(pod, INCLUDE_CIDRS_ANNOTATION, warnings),
            dns: wishes_dns(pod, warnings),
        }
    }
}

fn wishes_dns(pod: &Pod<'_>, warnings: &mut Vec<String>) -> bool {
    match pod.annotation(CAPTURE_DNS_ANNOTATION) {
        Some(ENABLED) => true,
        None | Some(DISABLED) => false,
        Some(other) => {
            warnings.push(format!(
                "annotation {CAPTURE_DNS_ANNOTATION}: {other:?} is neither {ENABLED} nor {DISABLED}, so DNS is not captured"
            ));
            false
        }
    }
}

fn list<T: FromStr<Err: Display>>(pod: &Pod<'_>, annotation: &str, warnings: &mut Vec<String>) -> Vec<T> {
    let items =
        pod.annotation(annotation).unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
    let mut read = Vec::new();
    for item in items {
        match item.parse() {
            Ok(item) => read.push(item),
            Err(why) => warnings.push(format!("annotation {annotation}: this item is ignored: {why}")),
        }
    }
    read
}
