//! Policy objects against Services: what is in effect where, and what is said of what is not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::{objects, port, service, shown, upserts};
use wasmesh_control_plane::{
    afar::{Fault, Fetched, Remote},
    policies::trials::Abort,
    registry::{ObjectChange, Registry},
    source::folder::parse::parse,
    translate::{
        Object,
        policy::{FileFault, Grants, Module, PolicyObject, PolicyStatus, Reason},
    },
};
use wasmesh_core::{
    afar::AllowedModules,
    policy::{BuiltinPolicy, PortPolicy, TrialMode},
};

const SERVICES: &str = "
---
{apiVersion: v1, kind: Service, metadata: {name: web, annotations: {wasmesh.io/policy: random}},
 spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: grpc, port: 81}, {name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias}, spec: {type: ExternalName, externalName: example.org}}
---
{apiVersion: v1, kind: Service, metadata: {name: foreign, labels: {service.kubernetes.io/service-proxy-name: other}},
 spec: {clusterIP: 10.0.0.2, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: datagrams}, spec: {clusterIP: 10.0.0.3, ports: [{port: 53, protocol: UDP}]}}
";

/// A component with nothing but this in it.
fn module(tag: u8) -> Module {
    Module::new([b"\0asm\x0d\0\x01\0", &[tag][..]].concat().into()).unwrap()
}

/// A policy of this name for these targets, with the rest of its spec.
fn policy(name: &str, targets: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: wasmesh.io/v1alpha1, kind: LoadBalancingPolicy, metadata: {{name: {name}}}, \
         spec: {{targetRefs: [{targets}], {spec}}}}}\n"
    )
}

/// The same of type Wasm: `p.wasm`, with more fields of `wasm` and of the spec.
fn wasm(more: &str, spec: &str) -> String {
    policy("own", WEB, &format!("type: Wasm, wasm: {{source: {{file: p.wasm}}{more}}}{spec}"))
}

const WEB: &str = "{kind: Service, name: web}";

/// Takes objects in; their files are these.
fn apply(registry: &mut Registry, yaml: &str, files: &BTreeMap<&str, Result<Module, FileFault>>) {
    let with_files = |object| match object {
        Object::LoadBalancingPolicy(policy) => {
            let named = policy.file_names().filter_map(|name| Some((name.to_owned(), files.get(name)?.clone())));
            Object::LoadBalancingPolicy(Arc::new(PolicyObject {
                files: named.collect(),
                policy: policy.policy.clone(),
            }))
        }
        other => other,
    };
    registry.apply(objects(yaml).into_iter().map(with_files).map(ObjectChange::Upsert).collect());
}

fn files(tag: u8) -> BTreeMap<&'static str, Result<Module, FileFault>> {
    let missing = FileFault { is_missing: true, reason: "there is no such file".to_owned() };
    let broken = FileFault { is_missing: false, reason: "it is not WebAssembly".to_owned() };
    BTreeMap::from([
        ("p.wasm", Ok(module(tag))),
        ("next.wasm", Ok(module(tag + 100))),
        ("gone.wasm", Err(missing)),
        ("bad.wasm", Err(broken)),
    ])
}

/// The Services with these policies, whose modules are as they were built first.
fn registry(policies: &str) -> Registry {
    let mut registry = Registry::default();
    apply(&mut registry, &format!("{SERVICES}{policies}"), &files(1));
    registry
}

fn status(registry: &Registry, name: &str) -> PolicyStatus {
    registry.policies().into_iter().find(|status| status.object.name == name).expect("a policy")
}

/// The policies of the ports `http` and `grpc` of `web`.
fn of_web(registry: &Registry) -> [String; 2] {
    let web = service(registry, "default/web");
    ["http", "grpc"].map(|name| port(&web, name).policy.name().to_owned())
}

#[test]
fn a_policy_object_says_everything_that_a_port_is_given() {
    let registry = registry(&wasm(
        ", config: {b: [1, {y: 2, x: 1}], a: é}, limits: {fuel: 5000, memoryMiB: 4}",
        ", fallback: PeakEWMA, failurePolicy: Refuse, allow: [Body, Hold], endpointLabels: [version], \
         candidate: {mode: Serve, percent: 5, abortOn: {faults: 3}, wasm: {source: {file: next.wasm}}}",
    ));
    let web = service(&registry, "default/web");
    let policy = port(&web, "http").policy.wasm().expect("a module");
    assert_eq!((policy.name.as_str(), policy.fallback), ("own", BuiltinPolicy::PeakEwma));
    assert_eq!(policy.program.config, r#"{"a":"é","b":[1,{"x":1,"y":2}]}"#);
    assert_eq!((policy.program.module, policy.program.fuel, policy.program.memory_mib), (module(1).digest(), 5_000, 4));
    assert!(policy.allow.body && policy.allow.hold && !policy.allow.reject && !policy.allow.sensitive_headers);
    let trial = policy.trial.as_ref().expect("a trial");
    assert_eq!((trial.mode, trial.percent, trial.abort_on_faults), (TrialMode::Serve, 5, Some(3)));
    assert_eq!(trial.program.module, module(101).digest());
    assert_eq!(port(&web, "dns").policy, BuiltinPolicy::Random.into(), "datagrams are not balanced");
    assert_eq!(registry.modules().len(), 2);
    assert!(status(&registry, "own").is_well());
}

#[test]
fn what_is_not_said_has_its_default() {
    let registry = registry(&wasm("", ", candidate: {mode: Shadow, wasm: {source: {file: next.wasm}}}"));
    let web = service(&registry, "default/web");
    let policy = port(&web, "http").policy.wasm().expect("a module");
    let (program, trial) = (&policy.program, policy.trial.as_ref().expect("a trial"));
    assert_eq!((program.config.as_str(), program.fuel, program.memory_mib), ("{}", 1_000_000, 16));
    assert_eq!((policy.fallback, trial.percent), (BuiltinPolicy::LeastRequest, 100));
}

#[test]
fn the_example_of_the_design_is_read() {
    let example = "
apiVersion: wasmesh.io/v1alpha1
kind: List
items:
- apiVersion: wasmesh.io/v1alpha1
  kind: LoadBalancingPolicy
  metadata: {name: a}
  spec: {targetRefs: [{group: '', kind: Service, name: web, sectionName: http}], type: PeakEWMA}
  status: {whatever: [it, says]}
";
    assert_eq!(parse(&example.replace("wasmesh.io/v1alpha1\nkind: List", "v1\nkind: List")).problems, []);
    let mut registry = registry("");
    apply(&mut registry, &example.replacen("wasmesh.io/v1alpha1", "v1", 1), &files(1));
    assert_eq!(of_web(&registry), ["peak-ewma", "random"]);
}

/// The policies of the ports `http` and `grpc` of `web` with these policies: name, target, age in hours.
#[track_caller]
fn precedence(policies: &[(&str, &str, u32)], expected: [&str; 2]) -> Registry {
    let kinds = BTreeMap::from([("a", "Maglev"), ("b", "RingHash"), ("c", "RoundRobin"), ("d", "PeakEWMA")]);
    let yaml: Vec<_> = policies
        .iter()
        .map(|(name, target, age)| {
            let created = if *age == 0 { "null".to_owned() } else { format!("'2026-01-01T{:02}:00:00Z'", 23 - age) };
            let yaml = policy(name, target, &format!("type: {}", kinds[name]));
            yaml.replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, creationTimestamp: {created}}}"))
        })
        .collect();
    let shuffled = |order: Vec<String>| {
        let registry = registry(&order.concat());
        assert_eq!(of_web(&registry), expected, "{policies:?}");
        registry
    };
    shuffled(yaml.iter().rev().cloned().collect());
    shuffled(yaml)
}

const HTTP: &str = "{kind: Service, name: web, sectionName: http}";

#[test]
fn the_narrower_target_wins_and_then_the_older_policy() {
    precedence(&[], ["random", "random"]);
    precedence(&[("a", WEB, 1)], ["maglev", "maglev"]);
    precedence(&[("a", HTTP, 1)], ["maglev", "random"]);
    // A port beats a Service, however old that one is.
    precedence(&[("a", WEB, 9), ("b", HTTP, 1)], ["ring-hash", "maglev"]);
    // Of equals the oldest, then the first by name; whoever has no age is the youngest.
    precedence(&[("a", WEB, 1), ("b", WEB, 9)], ["ring-hash", "ring-hash"]);
    precedence(&[("a", WEB, 9), ("b", WEB, 1)], ["maglev", "maglev"]);
    precedence(&[("b", WEB, 5), ("c", WEB, 5)], ["ring-hash", "ring-hash"]);
    precedence(&[("b", WEB, 0), ("c", WEB, 0)], ["ring-hash", "ring-hash"]);
    precedence(&[("a", WEB, 0), ("c", WEB, 1)], ["round-robin", "round-robin"]);
    precedence(&[("a", HTTP, 1), ("b", HTTP, 2), ("c", WEB, 9), ("d", WEB, 8)], ["ring-hash", "round-robin"]);
    // One policy with a target for the Service and one for a port has both.
    precedence(&[("a", &format!("{WEB}, {HTTP}"), 1), ("b", HTTP, 2)], ["ring-hash", "maglev"]);
}

#[test]
fn a_policy_is_told_what_it_lost_and_to_whom() {
    let registry =
        precedence(&[("a", HTTP, 1), ("b", HTTP, 2), ("c", WEB, 9), ("d", WEB, 8)], ["ring-hash", "round-robin"]);
    let loser = status(&registry, "a");
    assert_eq!((loser.accepted.status, loser.accepted.reason), (false, Reason::Conflicted));
    assert!(loser.accepted.message.starts_with("Service web: lost port http to b, which is older or names the port"));
    let partly = status(&registry, "c");
    assert!(partly.accepted.status && partly.accepted.message.contains("lost port http to b"));
    assert_eq!(partly.targets[0].governs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["grpc"]);
    assert_eq!(partly.targets[0].lost["http"], "b");
    assert_eq!(status(&registry, "d").accepted.reason, Reason::Conflicted);
    assert!(status(&registry, "b").is_well());
}

#[test]
fn what_a_target_cannot_be_is_named() {
    let check = |target: &str, reason: Reason, message: &str| {
        let registry = registry(&policy("own", target, "type: Maglev"));
        let accepted = status(&registry, "own").accepted;
        assert_eq!((accepted.status, accepted.reason), (false, reason), "{target}: {}", accepted.message);
        assert!(accepted.message.contains(message), "{target}: {}", accepted.message);
        assert_eq!(of_web(&registry), ["random", "random"]);
    };
    check("", Reason::Invalid, "spec.targetRefs: names nothing");
    check("{kind: Service, name: nowhere}", Reason::TargetNotFound, "there is no Service nowhere in the namespace");
    check("{kind: Service, name: Up Case}", Reason::TargetNotFound, "there is no Service Up Case");
    check(
        "{kind: Service, name: web, sectionName: admin}",
        Reason::TargetNotFound,
        "has no port \"admin\": it has http, grpc, dns",
    );
    check("{kind: Service, name: web, sectionName: dns}", Reason::Invalid, "port \"dns\" of Service web is not TCP");
    check("{kind: Service, name: headless}", Reason::HeadlessService, "Service headless is headless");
    check("{kind: Service, name: alias}", Reason::Invalid, "is an ExternalName: name the Service behind example.org");
    check("{kind: Service, name: foreign}", Reason::TargetNotFound, "is none that the mesh serves");
    check("{kind: Service, name: datagrams}", Reason::TargetNotFound, "Service datagrams has no TCP port");
    check(
        "{kind: Deployment, group: apps, name: web}",
        Reason::Invalid,
        "Deployment of apps web: a policy can be for Services only",
    );
    check("{kind: Gateway, name: web}", Reason::Invalid, "Gateway web: a policy can be for Services only");
    let many: Vec<_> = (0..17).map(|n| format!("{{kind: Service, name: s{n}}}")).collect();
    check(&many.join(", "), Reason::Invalid, "names 17 targets, 16 are the most");
}

#[test]
fn a_bad_target_does_not_take_the_good_ones_along() {
    let targets = format!("{{kind: Service, name: nowhere}}, {HTTP}, {HTTP}, {{kind: Pod, name: web}}");
    let registry = registry(&policy("own", &targets, "type: Maglev"));
    assert_eq!(of_web(&registry), ["maglev", "random"]);
    let status = status(&registry, "own");
    assert!(status.accepted.status);
    for part in ["no Service nowhere", "this target is named twice", "Pod web"] {
        assert!(status.accepted.message.contains(part), "{}", status.accepted.message);
    }
    assert_eq!(
        status.targets.iter().map(|target| target.accepted.status).collect::<Vec<_>>(),
        [false, true, false, false]
    );
}

#[test]
fn a_policy_waits_for_its_service() {
    let mut registry = Registry::default();
    apply(&mut registry, &policy("own", WEB, "type: Maglev"), &files(1));
    assert_eq!(status(&registry, "own").accepted.reason, Reason::TargetNotFound);
    registry.apply(upserts(SERVICES));
    assert_eq!(of_web(&registry), ["maglev", "maglev"]);
    assert!(status(&registry, "own").is_well());
}

/// A spec of a policy for `web`, and what its conditions say: first of the object, then of what it refers to.
#[track_caller]
fn refused(yaml: &str, accepted: &str, resolved: Option<(Reason, &str)>) {
    let registry = registry(yaml);
    let status = status(&registry, "own");
    assert_eq!(of_web(&registry), ["random", "random"], "nothing is in effect");
    assert_eq!(accepted.is_empty(), status.accepted.reason != Reason::Invalid, "{}", status.accepted.message);
    assert!(status.accepted.message.contains(accepted), "{}", status.accepted.message);
    match resolved {
        Some((reason, message)) => {
            assert_eq!((status.resolved_refs.status, status.resolved_refs.reason), (false, reason));
            assert!(status.resolved_refs.message.contains(message), "{}", status.resolved_refs.message);
        }
        None => assert!(status.resolved_refs.status, "{}", status.resolved_refs.message),
    }
    assert!(registry.modules().is_empty());
}

#[test]
fn what_a_field_cannot_be_is_named() {
    refused(&policy("own", WEB, "type: Wasm"), "spec.wasm: is missing", None);
    refused(
        &policy("own", WEB, "type: Random, wasm: {source: {file: p.wasm}}"),
        "spec.wasm: is for type: Wasm only",
        None,
    );
    let candidate = |more: &str| wasm("", &format!(", candidate: {{wasm: {{source: {{file: next.wasm}}}}, {more}}}"));
    let of_builtin = "type: Random, candidate: {mode: Shadow, wasm: {source: {file: p.wasm}}}";
    refused(&policy("own", WEB, of_builtin), "spec.candidate: is for type: Wasm only", None);
    refused(
        &wasm(", limits: {fuel: 999}", ""),
        "spec.wasm.limits.fuel: 999 is out of range: use 1000 to 100000000",
        None,
    );
    refused(&wasm(", limits: {fuel: -1}", ""), "spec.wasm.limits.fuel: -1 is out of range", None);
    refused(&wasm(", limits: {fuel: 100000001}", ""), "spec.wasm.limits.fuel: 100000001 is out of range", None);
    refused(&wasm(", limits: {memoryMiB: 0}", ""), "spec.wasm.limits.memoryMiB: 0 is out of range: use 1 to 256", None);
    refused(&wasm(", limits: {memoryMiB: 257}", ""), "spec.wasm.limits.memoryMiB: 257 is out of range", None);
    refused(&wasm(&format!(", config: {{a: {}}}", "x".repeat(70_000)), ""), "bytes of JSON, 65536 are the most", None);
    refused(&wasm(", sha256: abc", ""), "spec.wasm.sha256: \"abc\" is no SHA-256", None);
    refused(&wasm("", ", allow: [SensitiveHeaders]"), "run the control plane with --allow-sensitive-headers", None);
    let labels: Vec<_> = (0..17).map(|n| format!("l{n}")).collect();
    refused(&wasm("", &format!(", endpointLabels: [{}]", labels.join(", "))), "17 labels, 16 are the most", None);
    refused(&wasm("", ", endpointLabels: ['']"), "spec.endpointLabels: not a label's key", None);
    refused(&candidate("mode: Serve"), "spec.candidate.percent: is missing: mode: Serve needs it", None);
    refused(&candidate("mode: Serve, percent: 101"), "spec.candidate.percent: 101 is out of range", None);
    refused(
        &candidate("mode: Shadow, abortOn: {faults: 0}"),
        "spec.candidate.abortOn.faults: 0 is out of range: use 1 to",
        None,
    );
    refused(&wasm(", limits: {fuel: 1}", ", allow: [SensitiveHeaders]"), "spec.wasm.limits.fuel", None);
    refused(&wasm(", limits: {fuel: 1}", ", allow: [SensitiveHeaders]"), "spec.allow", None);
}

#[test]
fn what_is_not_in_the_shape_is_a_problem_with_its_line() {
    let check = |yaml: &str, expected: &str| {
        let parsed = parse(yaml);
        assert!(parsed.objects.is_empty(), "{yaml}");
        let reason = &parsed.problems[0].value.reason;
        assert!(reason.starts_with("not a valid LoadBalancingPolicy: ") && reason.contains(expected), "{reason}");
        assert_eq!(parsed.problems[0].value.object.as_ref().unwrap().to_string(), "LoadBalancingPolicy default/own");
    };
    check(&wasm(", limit: {fuel: 5000}", ""), "limit");
    check(&wasm("", ", endpointLabel: [a]"), "endpointLabel");
    check(&wasm(", config: [1]", ""), "mapping");
    check(&policy("own", "{kind: Service, name: web, namespace: shop}", "type: Random"), "namespace");
    check(&policy("own", WEB, "type: Quickest"), "Quickest");
    check(&policy("own", WEB, "fallback: Random"), "type");
    check(&wasm("", ", allow: [Everything]"), "Everything");
    check(&wasm("", ", failurePolicy: Ignore"), "Ignore");
}

/// A policy whose module comes from here.
fn from(source: &str, more: &str) -> String {
    policy("own", WEB, &format!("type: Wasm, wasm: {{source: {{{source}}}{more}}}"))
}

const CONFIG_MAP: &str = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: modules}, data: {text: AGFzbQ==}, \
                          binaryData: {own.wasm: AGFzbQ0AAQAB, core.wasm: AGFzbQEAAAA=}}\n";

#[test]
fn what_a_source_does_not_give_is_named() {
    let sources = "name exactly one of file, configMapKeyRef, http and image";
    refused(&from("", ""), sources, None);
    refused(&from("file: p.wasm, http: {url: 'https://x'}", ""), sources, None);
    refused(
        &from("file: gone.wasm", ""),
        "",
        Some((Reason::RefNotFound, "spec.wasm.source.file \"gone.wasm\": there is no such file")),
    );
    refused(&from("file: bad.wasm", ""), "", Some((Reason::InvalidRef, "it is not WebAssembly")));
    refused(
        &from("file: unknown.wasm", ""),
        "",
        Some((Reason::UnsupportedRef, "files are for control planes that read a folder")),
    );
    let other = module(9).digest().to_string();
    refused(&from("http: {url: 'https://x/y'}", ""), "spec.wasm.sha256: is missing", None);
    let http = from("http: {url: 'https://x/y'}", &format!(", sha256: {other}"));
    refused(
        &http,
        "",
        Some((Reason::RefNotPermitted, "spec.wasm.source.http https://x/y: no module from afar is allowed")),
    );
    refused(&from("image: {reference: 'oci://x'}", ""), "spec.wasm.source.image.reference: it has no digest", None);
    let image = from(&format!("image: {{reference: 'oci://x/y@sha256:{other}'}}"), "");
    refused(&image, "", Some((Reason::RefNotPermitted, "--allow-modules 'oci://x/y'")));
    refused(&from("file: p.wasm", &format!(", sha256: {other}")), "", Some((Reason::InvalidRef, &other)));
    let key = |name: &str, key: &str| {
        format!("{CONFIG_MAP}{}", from(&format!("configMapKeyRef: {{name: {name}, key: {key}}}"), ""))
    };
    refused(&key("other", "own.wasm"), "", Some((Reason::RefNotFound, "there is no ConfigMap other")));
    refused(&key("modules", "other.wasm"), "", Some((Reason::RefNotFound, "has no key other.wasm in its binaryData")));
    refused(
        &key("modules", "text"),
        "",
        Some((Reason::InvalidRef, "text is text, and a module is not: put it under binaryData")),
    );
    refused(&key("modules", "core.wasm"), "", Some((Reason::InvalidRef, "a core WebAssembly module, not a component")));
    let elsewhere = CONFIG_MAP.replace("{name: modules}", "{name: modules, namespace: shop}");
    let ours = from("configMapKeyRef: {name: modules, key: own.wasm}", "");
    refused(&format!("{elsewhere}{ours}"), "", Some((Reason::RefNotFound, "in the namespace of the policy")));
}

#[test]
fn a_module_of_a_config_map_is_followed() {
    let mut registry = registry(&from("configMapKeyRef: {name: modules, key: own.wasm}", ""));
    assert_eq!(of_web(&registry), ["random", "random"]);
    registry.apply(upserts(CONFIG_MAP));
    let digest =
        |registry: &Registry| port(&service(registry, "default/web"), "http").policy.wasm().unwrap().program.module;
    assert_eq!(digest(&registry), module(1).digest());
    registry.apply(upserts(&CONFIG_MAP.replace("AGFzbQ0AAQAB", "AGFzbQ0AAQAC")));
    assert_eq!(digest(&registry), module(2).digest());
    registry.apply(common::deletes(CONFIG_MAP));
    assert_eq!(digest(&registry), module(2).digest(), "the last good one goes on serving");
    assert!(status(&registry, "own").resolved_refs.message.contains("the version before this one goes on serving"));
}

#[test]
fn a_policy_that_turns_bad_goes_on_as_it_was() {
    let good = wasm("", "");
    let bad = [
        wasm(", limits: {fuel: 1}", ""),
        wasm(&format!(", sha256: {}", module(9).digest()), ""),
        from("file: bad.wasm", ""),
        from("file: gone.wasm", ""),
        wasm("", ", candidate: {mode: Shadow, wasm: {source: {file: bad.wasm}}}"),
        // Also for its old targets.
        policy("own", "{kind: Service, name: other}", "type: Wasm, wasm: {source: {file: bad.wasm}}"),
        policy("own", "", "type: Maglev"),
    ];
    for bad in bad {
        let mut registry = registry(&good);
        let before = port(&service(&registry, "default/web"), "http").policy.clone();
        apply(&mut registry, &bad, &files(2));
        assert_eq!(port(&service(&registry, "default/web"), "http").policy, before, "{bad}");
        let now = status(&registry, "own");
        assert!(now.serving.as_ref().is_some_and(|serving| serving.is_earlier) && !now.is_well());
        assert_eq!(registry.modules(), [module(1)], "whoever is late can still fetch it");
        apply(&mut registry, &good, &files(2));
        let mended = port(&service(&registry, "default/web"), "http").policy.clone();
        assert_eq!(mended.wasm().unwrap().program.module, module(2).digest());
        assert!(status(&registry, "own").is_well());
    }
}

#[test]
fn a_policy_that_goes_leaves_nothing_behind() {
    let mut registry = registry(&wasm("", ""));
    apply(&mut registry, &from("file: bad.wasm", ""), &files(1));
    registry.apply(common::deletes(&wasm("", "")));
    assert_eq!(of_web(&registry), ["random", "random"]);
    assert!(registry.policies().is_empty() && registry.modules().is_empty());
}

#[test]
fn sensitive_headers_are_the_administrators_to_grant() {
    let mut registry = Registry::new(Grants { sensitive_headers: true, ..Grants::default() });
    apply(&mut registry, &format!("{SERVICES}{}", wasm("", ", allow: [SensitiveHeaders, Reject]")), &files(1));
    let web = service(&registry, "default/web");
    let allow = port(&web, "http").policy.wasm().unwrap().allow;
    assert!(allow.sensitive_headers && allow.reject && !allow.body);
}

#[test]
fn only_the_labels_that_policies_ask_for_travel() {
    let pods = "
---
{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {version: v2, tier: gold, app: web}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: {kubernetes.io/service-name: web}},
 addressType: IPv4, ports: [{name: http, port: 8080}],
 endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: p}}]}
";
    let mut registry = registry(pods);
    let labels = |registry: &Registry| {
        let web = service(registry, "default/web");
        let endpoint = web.endpoints.iter().next().cloned().expect("an endpoint");
        endpoint.labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels(&registry), "");
    let grpc = "{kind: Service, name: web, sectionName: grpc}";
    apply(&mut registry, &policy("a", HTTP, "type: Random, endpointLabels: [version, missing]"), &files(1));
    assert_eq!(labels(&registry), "version=v2");
    apply(&mut registry, &policy("b", grpc, "type: Random, endpointLabels: [tier]"), &files(1));
    assert_eq!(labels(&registry), "tier=gold version=v2");
    registry.apply(upserts(&pods.replace("version: v2", "version: v3")));
    assert_eq!(labels(&registry), "tier=gold version=v3");
    // One that governs nothing sees nothing.
    apply(&mut registry, &policy("z", HTTP, "type: Random, endpointLabels: [app]"), &files(1));
    assert_eq!(labels(&registry), "tier=gold version=v3");
    registry.apply(common::deletes(&policy("a", HTTP, "type: Random")));
    assert_eq!(labels(&registry), "app=web tier=gold");
}

#[test]
fn a_candidate_that_is_taken_back_stays_so_until_another_is_declared() {
    let candidate = |config: &str| {
        wasm(
            "",
            &format!(
                ", candidate: {{mode: Serve, percent: 5, wasm: {{source: {{file: next.wasm}}, config: {config}}}}}"
            ),
        )
    };
    let mut registry = registry(&candidate("{}"));
    let trial = |registry: &Registry| match &port(&service(registry, "default/web"), "http").policy {
        PortPolicy::Wasm(policy) => policy.trial.clone(),
        PortPolicy::Builtin(_) => None,
    };
    let (object, tried) = registry.trials().map(|(key, trial)| (key.clone(), trial.clone())).next().expect("a trial");
    let faults = BTreeMap::from([("fuel".to_owned(), 2), ("trap".to_owned(), 1)]);
    let aborts = BTreeMap::from([(object, Abort { trial: tried, faults, proxies: 2 })]);
    assert_eq!(registry.set_aborts(aborts.clone()).len(), 1);
    assert_eq!(trial(&registry), None);
    let condition = status(&registry, "own").candidate.expect("a condition");
    assert_eq!((condition.status, condition.reason), (false, Reason::Aborted));
    assert!(condition.message.contains("after 3 faults on 2 proxies (2 fuel, 1 trap)"), "{}", condition.message);
    // The rest of the object may change.
    apply(&mut registry, &candidate("{}").replace("p.wasm}", "p.wasm}, limits: {fuel: 2000}"), &files(1));
    assert_eq!(trial(&registry), None);
    apply(&mut registry, &candidate("{a: 1}"), &files(1));
    assert!(trial(&registry).is_some());
    assert_eq!(status(&registry, "own").candidate.expect("a condition").reason, Reason::OnTrial);
    // The annotation and problems of Services have nothing to do with it.
    assert_eq!(shown(registry.problems()), [""; 0]);
}

/// What is known of modules from afar that a registry wants, by their names.
fn fetched(registry: &Registry, outcomes: &[(&str, Result<&Module, &str>)]) -> Fetched {
    let outcome = |outcome: Result<&Module, &str>| {
        let fault = |message: &str| Fault { reason: Reason::FetchFailed, message: message.to_owned(), may_pass: true };
        outcome.cloned().map_err(fault)
    };
    let of = |remote: &Remote| outcomes.iter().find(|(name, _)| *name == remote.to_string());
    let known = registry.wanted().into_keys().filter_map(|remote| {
        let (_, it) = of(&remote)?;
        Some((remote, outcome(*it)))
    });
    Arc::new(known.collect())
}

#[test]
fn a_candidate_that_cannot_be_had_takes_nothing_away() {
    let url = "https://files.example/next";
    let [next, other] = [9, 10].map(module);
    let source = |sha256: &Module| format!("{{source: {{http: {{url: '{url}'}}}}, sha256: '{}'}}", sha256.digest());
    let with = |sha256: &Module, more: &str| {
        wasm(more, &format!(", candidate: {{mode: Serve, percent: 5, wasm: {}}}", source(sha256)))
    };
    let sources = vec!["https://files.example/*".parse().unwrap()];
    let modules = AllowedModules { sources, ..AllowedModules::default() };
    let mut registry = Registry::new(Grants { modules, ..Grants::default() });
    apply(&mut registry, &format!("{SERVICES}{}", with(&next, "")), &files(1));
    let trial = |registry: &Registry| {
        let web = service(registry, "default/web");
        port(&web, "http").policy.wasm().map(|policy| policy.trial.as_ref().map(|trial| trial.program.module))
    };
    for reason in [Reason::Pending, Reason::FetchFailed] {
        assert_eq!(trial(&registry), Some(None), "it serves without");
        let told = status(&registry, "own");
        assert_eq!(told.resolved_refs.reason, reason);
        assert!(told.resolved_refs.message.ends_with("; the policy serves without its candidate"));
        assert!(told.serving.is_some_and(|serving| !serving.is_earlier) && told.accepted.status);
        let down = fetched(&registry, &[(url, Err("it is down"))]);
        registry.set_fetched(down);
    }
    // Another version of the rest is served as well.
    apply(&mut registry, &with(&next, ", limits: {fuel: 5000}"), &files(2));
    assert_eq!(registry.modules(), [module(2)]);
    // What is wrong with the rest, or with a field, takes the place of nothing.
    apply(&mut registry, &with(&next, "").replace("percent: 5", "percent: 500"), &files(3));
    assert_eq!(registry.modules(), [module(2)]);
    assert!(status(&registry, "own").serving.is_some_and(|serving| serving.is_earlier));

    // Which does not depend on what has been wrong in between.
    apply(&mut registry, &with(&next, ""), &files(3));
    assert_eq!(registry.modules(), [module(3)]);
    assert!(status(&registry, "own").serving.is_some_and(|serving| !serving.is_earlier));

    apply(&mut registry, &with(&next, ""), &files(1));
    let here = fetched(&registry, &[(url, Ok(&next))]);
    registry.set_fetched(here);
    assert_eq!(trial(&registry), Some(Some(next.digest())));
    assert!(status(&registry, "own").is_well());
    // From then on there is a version before, and it goes on whole.
    apply(&mut registry, &with(&other, ""), &files(2));
    assert_eq!(trial(&registry), Some(Some(next.digest())));
    assert!(status(&registry, "own").serving.is_some_and(|serving| serving.is_earlier));
}

#[test]
fn a_module_from_afar_is_wanted_where_it_is_allowed_and_served_when_it_has_come() {
    let url = |name: &str, sha256: &str| {
        let source = format!("source: {{http: {{url: 'https://files.example/team/{name}'}}}}, sha256: '{sha256}'");
        policy("own", WEB, &format!("type: Wasm, wasm: {{{source}}}"))
    };
    let (first, second) = (module(1), module(2));
    let sources = vec!["https://files.example/team/*".parse().unwrap()];
    let modules = AllowedModules { sources, ..AllowedModules::default() };
    let mut registry = Registry::new(Grants { modules, ..Grants::default() });
    registry.apply(upserts(SERVICES));
    let none = BTreeMap::new();
    let named = |registry: &Registry| registry.wanted().keys().map(ToString::to_string).collect::<Vec<_>>();
    let [of_first, of_second] = ["first", "second"].map(|name| format!("https://files.example/team/{name}"));

    apply(&mut registry, &url("first", &first.digest().to_string()), &none);
    assert_eq!(named(&registry), std::slice::from_ref(&of_first));
    assert_eq!(status(&registry, "own").resolved_refs.reason, Reason::Pending);
    assert_eq!(of_web(&registry), ["random", "random"]);
    let here = fetched(&registry, &[(&of_first, Ok(&first))]);
    assert_eq!(registry.set_fetched(here).len(), 1);
    assert_eq!(of_web(&registry), ["own", "own"]);
    assert!(status(&registry, "own").is_well());

    // The next version is served when it is there, and what is wrong meanwhile takes nothing away.
    apply(&mut registry, &url("second", &second.digest().to_string()), &none);
    assert_eq!(named(&registry), [of_first.clone(), of_second.clone()], "what serves is held all along");
    let failed = fetched(&registry, &[(&of_first, Ok(&first)), (&of_second, Err("it is down"))]);
    registry.set_fetched(failed);
    let told = status(&registry, "own");
    assert_eq!(told.resolved_refs.reason, Reason::FetchFailed);
    assert!(told.resolved_refs.message.contains("it is down; the version before this one goes on serving"));
    assert_eq!(registry.modules(), std::slice::from_ref(&first));
    let here = fetched(&registry, &[(&of_first, Ok(&first)), (&of_second, Ok(&second))]);
    registry.set_fetched(here);
    assert_eq!((registry.modules(), named(&registry)), (vec![second], vec![of_second.clone()]));

    // What is not allowed is not asked for.
    for (more, reason) in [("../x", "as a segment"), ("%2e%2e/x", "must not be encoded")] {
        apply(&mut registry, &url(more, &first.digest().to_string()), &none);
        assert!(status(&registry, "own").accepted.message.contains(reason));
        assert_eq!(named(&registry), std::slice::from_ref(&of_second), "only what serves");
    }
    let elsewhere = url("x", &first.digest().to_string()).replace("files.example", "other.example");
    apply(&mut registry, &elsewhere, &none);
    let told = status(&registry, "own").resolved_refs;
    assert_eq!((named(&registry), told.reason), (vec![of_second], Reason::RefNotPermitted));
    assert!(told.message.contains("--allow-modules 'https://other.example/team/x'"), "{}", told.message);
    let image = policy("own", WEB, "type: Wasm, wasm: {source: {image: {reference: 'oci://r.example/own:v1'}}}");
    apply(&mut registry, &image, &none);
    assert!(status(&registry, "own").accepted.message.contains("write oci://r.example/own:v1@sha256:"));
    assert_eq!(of_web(&registry), ["own", "own"], "all along");
}
