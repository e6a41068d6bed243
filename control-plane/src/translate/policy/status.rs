//! What has become of a policy object, for whoever wrote it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, Serializer};
use wasmesh_core::{
    name::ServiceName,
    policy::{PortPolicy, Trial},
    service::{ServiceKind, ServicePort, ServiceSpec, Transport},
};

use super::{
    ancestors::ObjectStatus,
    attach::{Attached, is_balanced},
    condition::{Condition, Reason},
    resolve::Fault,
    spec::TargetRef,
};
use crate::{policies::trials::Abort, translate::ObjectKey};

/// What has become of a policy object.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyStatus {
    /// Which object.
    pub object: ObjectKey,
    /// The generation of the object that this is about, if the source counts them.
    pub generation: Option<i64>,
    /// What is wrong with the object itself, wherever it applies.
    pub invalid: Option<Condition>,
    /// Whether the object is well and governs something.
    pub accepted: Condition,
    /// Whether everything that it refers to was found.
    pub resolved_refs: Condition,
    /// What is in effect: of the object as it is, or of an earlier version while it is not well. `None`: nothing.
    pub serving: Option<Serving>,
    /// Of each target of what is in effect; of the object itself if nothing is.
    pub targets: Vec<TargetStatus>,
    /// What has become of the candidate, if there is one.
    pub candidate: Option<Condition>,
    /// What is said of the object where it is kept, if anything is.
    pub written: Option<Arc<ObjectStatus>>,
}

/// What of a policy is in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// What ports are given, without a candidate that has been taken back.
    pub policy: PortPolicy,
    /// The candidate as the object declares it.
    pub trial: Option<Trial>,
    /// Whether it is an earlier version of the object.
    pub is_earlier: bool,
}

/// What has become of one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetStatus {
    /// The Service, as the policy names it.
    pub service: String,
    /// The port, if the target is one.
    pub port: Option<String>,
    /// Whether the policy governs any of it.
    pub accepted: Condition,
    /// The ports that it governs.
    #[serde(serialize_with = "shown")]
    pub governs: Vec<PortName>,
    /// The ports that another policy governs, and which one that is.
    pub lost: BTreeMap<String, String>,
}

/// Names a port of a Service; unnamed ports are told by their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortName {
    /// The name; empty for the one port of a Service that needs none.
    pub name: String,
    /// The number that clients dial.
    pub number: u16,
}

/// What there is under the name of a target.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// No Service.
    Missing,
    /// A Service that the mesh does not serve.
    NotServed,
    /// A Service with the policies that ask for it.
    Service(&'a ServiceSpec, &'a Attached),
}

/// What is wrong with a target whatever there is under its name.
pub(super) fn misnamed(targets: &[TargetRef], index: usize) -> Option<Condition> {
    let target = targets.get(index)?;
    let TargetRef { group, kind, name, .. } = target;
    if !group.is_empty() || kind != "Service" {
        let shown = if group.is_empty() { kind.clone() } else { format!("{kind} of {group}") };
        let message =
            format!("{shown} {name}: a policy can be for Services only, so write group: \"\" and kind: Service");
        return Some(Condition::bad(Reason::Invalid, message));
    }
    if targets.iter().take(index).any(|earlier| earlier == target) {
        return Some(Condition::bad(Reason::Invalid, "this target is named twice: remove one of the two"));
    }
    None
}

/// A policy object and what is known of it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Which object.
    pub object: &'a ObjectKey,
    /// Its name, age and generation.
    pub metadata: &'a ObjectMeta,
    /// What of it is in effect.
    pub serving: Option<Serving>,
    /// What is wrong with it.
    pub fault: Option<&'a Fault>,
    /// The targets of what is in effect; its own if nothing is.
    pub targets: &'a [TargetRef],
    /// Why its candidate has been taken back, if it has.
    pub abort: Option<&'a Abort>,
    /// What is said of it where it is kept.
    pub written: Option<Arc<ObjectStatus>>,
}

impl PolicyStatus {
    /// What has become of a policy. `found` tells what is under the name of a Service.
    pub fn of<'a>(subject: &Subject<'_>, found: impl Fn(&ServiceName) -> Target<'a>) -> Self {
        let Subject { object, metadata, serving, fault, targets, abort, written } = subject;
        let under = |target: &TargetRef| {
            ServiceName::new(&object.namespace, &target.name).map_or(Target::Missing, |name| found(&name))
        };
        let targets: Vec<_> = (0..)
            .zip(targets.iter())
            .map(|(index, target)| TargetStatus::of(target, misnamed(targets, index), under(target), &object.name))
            .collect();
        let meanwhile = match serving {
            Some(Serving { is_earlier: true, .. }) => "; the version before this one goes on serving",
            Some(_) => "; the policy serves without its candidate",
            None => "",
        };
        let of_fault = |condition: &Condition| Condition {
            message: format!("{}{meanwhile}", condition.message),
            ..condition.clone()
        };
        let found_wrong =
            |of: fn(&Fault) -> &Option<Condition>| fault.and_then(|fault| of(fault).as_ref()).map(of_fault);
        let invalid = found_wrong(|fault| &fault.accepted);
        Self {
            object: (*object).clone(),
            generation: metadata.generation,
            accepted: invalid.clone().unwrap_or_else(|| accepted(&targets)),
            invalid,
            resolved_refs: found_wrong(|fault| &fault.resolved_refs)
                .unwrap_or_else(|| Condition::good(Reason::ResolvedRefs)),
            candidate: serving.as_ref().and_then(|serving| serving.trial.as_ref()).map(|_| candidate(*abort)),
            serving: serving.clone(),
            targets,
            written: written.clone(),
        }
    }

    /// Whether there is nothing to mend.
    pub fn is_well(&self) -> bool {
        let candidate = self.candidate.as_ref().is_none_or(|candidate| candidate.status);
        self.accepted.status && self.accepted.message.is_empty() && self.resolved_refs.status && candidate
    }
}

fn candidate(abort: Option<&Abort>) -> Condition {
    let Some(Abort { faults, proxies, .. }) = abort else { return Condition::good(Reason::OnTrial) };
    let counts: Vec<_> = faults.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let message = format!(
        "taken back after {} faults on {proxies} proxies ({}): mend the module, or change spec.candidate to try it again",
        faults.values().sum::<u64>(),
        counts.join(", ")
    );
    Condition::bad(Reason::Aborted, message)
}

impl TargetStatus {
    /// What has become of a target of the policy `own`.
    fn of(target: &TargetRef, misnamed: Option<Condition>, found: Target<'_>, own: &str) -> Self {
        let mut status = Self {
            service: target.name.clone(),
            port: target.section_name.clone(),
            accepted: Condition::good(Reason::Accepted),
            governs: Vec::new(),
            lost: BTreeMap::new(),
        };
        status.accepted = match misnamed {
            Some(condition) => condition,
            None => match governable(target, found) {
                Ok((spec, attached, ports)) => status.share_out(spec, attached, &ports, own),
                Err((reason, message)) => Condition::bad(reason, message),
            },
        };
        status
    }

    fn share_out(&mut self, spec: &ServiceSpec, attached: &Attached, ports: &[&ServicePort], own: &str) -> Condition {
        for port in ports {
            match attached.governor(spec, port).map(|winner| winner.claimant.name.as_str()) {
                Some(winner) if winner != own => {
                    self.lost.insert(PortName::of(port).to_string(), winner.to_owned());
                }
                Some(_) => self.governs.push(PortName::of(port)),
                // Nothing of this policy is in effect.
                None => {}
            }
        }
        let lost: Vec<_> = self.lost.iter().map(|(port, winner)| format!("port {port} to {winner}")).collect();
        let (shown, lost) = (&self.service, lost.join(", "));
        match (self.governs.is_empty(), lost.is_empty()) {
            (_, true) => Condition::good(Reason::Accepted),
            (false, false) => Condition {
                message: format!("Service {shown}: lost {lost}, which is older or names the port"),
                ..Condition::good(Reason::Accepted)
            },
            (true, false) => Condition::bad(
                Reason::Conflicted,
                format!(
                    "Service {shown}: lost {lost}, which is older or names the port: name a port with sectionName, or \
                     remove one of the two"
                ),
            ),
        }
    }
}

/// The ports that a target is about, if there is anything to govern.
fn governable<'a>(
    target: &TargetRef,
    found: Target<'a>,
) -> Result<(&'a ServiceSpec, &'a Attached, Vec<&'a ServicePort>), (Reason, String)> {
    let name = &target.name;
    let not_found = |message: String| Err((Reason::TargetNotFound, message));
    let (spec, attached) = match found {
        Target::Missing => {
            return not_found(format!("there is no Service {name} in the namespace of the policy: create it"));
        }
        Target::NotServed => return not_found(format!("Service {name} is none that the mesh serves")),
        Target::Service(spec, attached) => (spec, attached),
    };
    match &spec.kind {
        ServiceKind::ClusterIp { .. } => {}
        ServiceKind::Headless => {
            let message =
                format!("Service {name} is headless: its clients choose pods themselves, nothing is balanced");
            return Err((Reason::HeadlessService, message));
        }
        ServiceKind::ExternalName { target } => {
            let message = format!("Service {name} is an ExternalName: name the Service behind {target} instead");
            return Err((Reason::Invalid, message));
        }
    }
    if let Some(section) = &target.section_name {
        let Some(port) = spec.ports.iter().find(|port| port.name == *section) else {
            let names: Vec<_> = spec.ports.iter().map(|port| PortName::of(port).to_string()).collect();
            return not_found(format!("Service {name} has no port {section:?}: it has {}", names.join(", ")));
        };
        if port.transport != Transport::Tcp {
            return Err((Reason::Invalid, format!("port {section:?} of Service {name} is not TCP, so not balanced")));
        }
        return Ok((spec, attached, vec![port]));
    }
    let ports: Vec<_> = spec.ports.iter().filter(|port| is_balanced(spec, port)).collect();
    if ports.is_empty() {
        return not_found(format!("Service {name} has no TCP port"));
    }
    Ok((spec, attached, ports))
}

/// The object's own condition, from those of its targets.
fn accepted(targets: &[TargetStatus]) -> Condition {
    let bad: Vec<_> = targets.iter().map(|target| &target.accepted).filter(|condition| !condition.status).collect();
    let message = targets.iter().map(|target| target.accepted.message.as_str()).filter(|message| !message.is_empty());
    let message = message.collect::<Vec<_>>().join("; ");
    match bad.first() {
        Some(first) if bad.len() == targets.len() => Condition::bad(first.reason, message),
        _ => Condition { message, ..Condition::good(Reason::Accepted) },
    }
}

impl PortName {
    fn of(port: &ServicePort) -> Self {
        Self { name: port.name.clone(), number: port.port }
    }
}

impl std::fmt::Display for PortName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.number) } else { f.write_str(&self.name) }
    }
}

fn shown<S: Serializer>(ports: &[PortName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ports.iter().map(ToString::to_string))
}
