//! From a policy object to what a port can be given, or to what is wrong with it.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use wasmesh_core::{
    afar::AllowedModules,
    policy::{Allowed, ModuleDigest, PortPolicy, Trial, WasmPolicy, WasmProgram},
};

use super::{
    canonical_json::canonical,
    condition::{Condition, Reason},
    module::Module,
    object::{ConfigMap, PolicyObject},
    spec::{Candidate, CandidateMode, ConfigMapKeyRef, Limits, Permission, PolicySpec, TargetRef, WasmSpec},
    status::misnamed,
};
use crate::afar::{self, Misnamed, Remote};

const MAX_TARGETS: usize = 16;
const MAX_LABELS: usize = 16;
/// The longest a label's key can be in Kubernetes: a prefix of 253, a slash, a name of 63.
const MAX_LABEL_BYTES: usize = 317;
const MAX_CONFIG_BYTES: usize = 64 << 10;
const FUEL: RangeInclusive<i64> = 1_000..=100_000_000;
const MEMORY_MIB: RangeInclusive<i64> = 1..=256;
const PERCENT: RangeInclusive<i64> = 0..=100;
const FAULTS: RangeInclusive<i64> = 1..=u32::MAX as i64;

/// What a policy object amounts to, wherever it applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What it is for, as written.
    pub targets: Vec<TargetRef>,
    /// The policy, with its trial.
    pub policy: PortPolicy,
    /// The labels of pods that it sees.
    pub labels: BTreeSet<String>,
    /// The modules that it names.
    pub modules: Vec<Module>,
    /// Those of them that it has from afar, as it names them.
    pub remotes: Vec<Remote>,
}

/// Why there is nothing to serve: the conditions that do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong with the object.
    pub accepted: Option<Condition>,
    /// What is wrong with what it refers to.
    pub resolved_refs: Option<Condition>,
}

/// What a policy is resolved against.
pub struct Surroundings<'a> {
    /// The ConfigMaps of its namespace that are known.
    pub config_map: &'a dyn Fn(&str) -> Option<Arc<ConfigMap>>,
    /// What the administrator allows.
    pub grants: &'a Grants,
    /// What has come of a module from afar; `None` while it is being fetched for the first time.
    pub afar: &'a dyn Fn(&Remote) -> Option<Result<Module, afar::Fault>>,
}

/// What the administrator allows policies to do and to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Read `Authorization`, `Cookie` and their like.
    pub sensitive_headers: bool,
    /// Have modules from there.
    pub modules: AllowedModules,
}

impl Resolved {
    /// The targets that can be Services, each once.
    pub fn usable_targets(&self) -> impl Iterator<Item = &TargetRef> {
        let targets = self.targets.iter().enumerate();
        targets.filter(|(index, _)| misnamed(&self.targets, *index).is_none()).map(|(_, target)| target)
    }
}

/// Checks an object and finds its modules.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn resolve(object: &PolicyObject, surroundings: &Surroundings<'_>) -> Result<Resolved, Fault> {
    let spec = &object.policy.spec;
    let mut resolver = Resolver {
        object,
        surroundings,
        invalid: Vec::new(),
        unresolved: None,
        modules: Vec::new(),
        remotes: Vec::new(),
    };
    resolver.check_targets();
    let labels = resolver.labels();
    let policy = match spec.type_.builtin() {
        Some(builtin) => {
            resolver.check_builtin();
            Some(PortPolicy::Builtin(builtin))
        }
        None => resolver.wasm_policy().map(|policy| PortPolicy::Wasm(Arc::new(policy))),
    };
    let Resolver { invalid, unresolved, modules, remotes, .. } = resolver;
    match policy {
        Some(policy) if invalid.is_empty() && unresolved.is_none() => {
            Ok(Resolved { targets: spec.target_refs.clone(), policy, labels, modules, remotes })
        }
        _ => {
            let accepted = (!invalid.is_empty()).then(|| Condition::bad(Reason::Invalid, invalid.join("; ")));
            Err(Fault { accepted, resolved_refs: unresolved })
        }
    }
}

struct Resolver<'a> {
    object: &'a PolicyObject,
    surroundings: &'a Surroundings<'a>,
    /// What is wrong with fields.
    invalid: Vec<String>,
    /// What is wrong with the first thing that could not be had.
    unresolved: Option<Condition>,
    modules: Vec<Module>,
    remotes: Vec<Remote>,
}

impl<'a> Resolver<'a> {
    fn spec(&self) -> &'a PolicySpec {
        &self.object.policy.spec
    }

    fn invalid(&mut self, field: &str, reason: &str) {
        self.invalid.push(format!("{field}: {reason}"));
    }

    fn check_targets(&mut self) {
        match self.spec().target_refs.len() {
            0 => self.invalid("spec.targetRefs", "names nothing: name the Services that the policy is for"),
            1..=MAX_TARGETS => {}
            more => self.invalid(
                "spec.targetRefs",
                &format!("names {more} targets, {MAX_TARGETS} are the most: make several policies"),
            ),
        }
    }

    fn labels(&mut self) -> BTreeSet<String> {
        let labels: BTreeSet<String> = self.spec().endpoint_labels.iter().cloned().collect();
        if labels.len() > MAX_LABELS {
            let reason = format!("{} labels, {MAX_LABELS} are the most: name those that decide", labels.len());
            self.invalid("spec.endpointLabels", &reason);
        }
        if labels.iter().any(|label| label.is_empty() || label.len() > MAX_LABEL_BYTES) {
            self.invalid("spec.endpointLabels", "not a label's key: write it as it is on the pods");
        }
        labels
    }

    fn check_builtin(&mut self) {
        let spec = self.spec();
        if spec.wasm.is_some() {
            self.invalid("spec.wasm", "is for type: Wasm only: write that type, or remove it");
        }
        if spec.candidate.is_some() {
            self.invalid("spec.candidate", "is for type: Wasm only: write that type, or remove it");
        }
    }

    fn wasm_policy(&mut self) -> Option<WasmPolicy> {
        let spec = self.spec();
        let allow = self.allowed();
        let program = match &spec.wasm {
            Some(wasm) => self.program("spec.wasm", wasm),
            None => {
                self.invalid("spec.wasm", "is missing: type: Wasm needs a module");
                None
            }
        };
        let trial = spec.candidate.as_ref().map(|candidate| self.trial(candidate));
        Some(WasmPolicy {
            name: self.object.policy.metadata.name.clone().unwrap_or_default(),
            program: program?,
            fallback: spec.fallback.into(),
            on_failure: spec.failure_policy.into(),
            allow,
            trial: trial.flatten(),
        })
    }

    fn allowed(&mut self) -> Allowed {
        let mut allowed = Allowed::default();
        for permission in &self.spec().allow {
            match permission {
                Permission::Body => allowed.body = true,
                Permission::Reject => allowed.reject = true,
                Permission::Hold => allowed.hold = true,
                Permission::SensitiveHeaders => allowed.sensitive_headers = true,
            }
        }
        if allowed.sensitive_headers && !self.surroundings.grants.sensitive_headers {
            self.invalid(
                "spec.allow",
                "SensitiveHeaders is the administrator's to grant: remove it, or run the control plane with \
                 --allow-sensitive-headers",
            );
        }
        allowed
    }

    fn trial(&mut self, candidate: &'a Candidate) -> Option<Trial> {
        if candidate.percent.is_none() && candidate.mode == CandidateMode::Serve {
            self.invalid("spec.candidate.percent", "is missing: mode: Serve needs it, 0 to 100");
        }
        let percent = self.number("spec.candidate.percent", candidate.percent, 100, PERCENT);
        let faults = candidate.abort_on.faults;
        let abort_on_faults =
            faults.map(|faults| self.number("spec.candidate.abortOn.faults", Some(faults), 1, FAULTS));
        Some(Trial {
            program: self.program("spec.candidate.wasm", &candidate.wasm)?,
            mode: candidate.mode.into(),
            percent: percent?,
            abort_on_faults: abort_on_faults.flatten(),
        })
    }

    fn program(&mut self, field: &str, wasm: &'a WasmSpec) -> Option<WasmProgram> {
        let Limits { fuel, memory_mib } = wasm.limits;
        let fuel = self.number(&format!("{field}.limits.fuel"), fuel, WasmProgram::DEFAULT_FUEL, FUEL);
        let memory_mib =
            self.number(&format!("{field}.limits.memoryMiB"), memory_mib, WasmProgram::DEFAULT_MEMORY_MIB, MEMORY_MIB);
        let config = canonical(&wasm.config);
        if config.len() > MAX_CONFIG_BYTES {
            let reason = format!("{} bytes of JSON, {MAX_CONFIG_BYTES} are the most", config.len());
            self.invalid(&format!("{field}.config"), &reason);
        }
        let module = self.module(field, wasm)?;
        let program = WasmProgram { module: module.digest(), config, fuel: fuel?, memory_mib: memory_mib? };
        self.modules.push(module);
        Some(program)
    }

    /// A number of the object, or what it is unless the object says otherwise.
    fn number<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        value: Option<i64>,
        default: T,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let Some(value) = value else { return Some(default) };
        let number = Some(value).filter(|value| range.contains(value)).and_then(|value| T::try_from(value).ok());
        if number.is_none() {
            self.invalid(field, &format!("{value} is out of range: use {} to {}", range.start(), range.end()));
        }
        number
    }

    fn module(&mut self, field: &str, wasm: &'a WasmSpec) -> Option<Module> {
        let expected = match wasm.sha256.as_str() {
            "" => None,
            text => match text.parse::<ModuleDigest>() {
                Ok(digest) => Some(digest),
                Err(error) => {
                    self.invalid(&format!("{field}.sha256"), &error.to_string());
                    return None;
                }
            },
        };
        let (place, found) = self.find(field, wasm)?;
        let checked = found.and_then(|module| match expected.filter(|expected| *expected != module.digest()) {
            Some(expected) => Err((
                Reason::InvalidRef,
                format!(
                    "its SHA-256 is {}, and {field}.sha256 says {expected}: one of the two is not what was meant",
                    module.digest()
                ),
            )),
            None => Ok(module),
        });
        checked
            .map_err(|(reason, message)| {
                self.unresolved.get_or_insert_with(|| Condition::bad(reason, format!("{place}: {message}")));
            })
            .ok()
    }

    /// What the source of a module names, and what came of it. `None` if it does not name one thing.
    fn find(&mut self, program: &str, wasm: &'a WasmSpec) -> Option<(String, Found)> {
        let field = format!("{program}.source");
        let source = &wasm.source;
        let (file, key_ref) = (source.file.as_deref(), source.config_map_key_ref.as_ref());
        match (file, key_ref, &source.http, &source.image) {
            (Some(file), None, None, None) => Some((format!("{field}.file {file:?}"), self.file(file))),
            (None, Some(key_ref), None, None) => {
                let place = format!("{field}.configMapKeyRef {}/{}", key_ref.name, key_ref.key);
                Some((place, self.config_map_key(key_ref)))
            }
            (None, None, Some(_), None) | (None, None, None, Some(_)) => self.fetched(program, wasm),
            _ => {
                self.invalid(&field, "name exactly one of file, configMapKeyRef, http and image");
                None
            }
        }
    }

    fn fetched(&mut self, program: &str, wasm: &'a WasmSpec) -> Option<(String, Found)> {
        let namespace = self.object.policy.metadata.namespace.as_deref().unwrap_or_default();
        let remote = match Remote::of(wasm, namespace)? {
            Ok(remote) => remote,
            Err(Misnamed { field, reason }) => {
                self.invalid(&format!("{program}.{field}"), &reason);
                return None;
            }
        };
        let field = if matches!(remote, Remote::Http { .. }) { "http" } else { "image" };
        let found = match remote.refusal(&self.surroundings.grants.modules) {
            Some(refusal) => Err(refusal),
            None => (self.surroundings.afar)(&remote).unwrap_or_else(|| Err(afar::Fault::pending())),
        };
        let found = found.map_err(|fault| (fault.reason, fault.message));
        let place = format!("{program}.source.{field} {remote}");
        self.remotes.push(remote);
        Some((place, found))
    }

    fn file(&self, file: &str) -> Found {
        let Some(read) = self.object.files.get(file) else {
            let message = "files are for control planes that read a folder: use configMapKeyRef";
            return Err((Reason::UnsupportedRef, message.to_owned()));
        };
        read.clone()
            .map_err(|fault| (if fault.is_missing { Reason::RefNotFound } else { Reason::InvalidRef }, fault.reason))
    }

    fn config_map_key(&self, key_ref: &ConfigMapKeyRef) -> Found {
        let ConfigMapKeyRef { name, key } = key_ref;
        let Some(config_map) = (self.surroundings.config_map)(name) else {
            let message = format!("there is no ConfigMap {name} in the namespace of the policy: create it");
            return Err((Reason::RefNotFound, message));
        };
        if let Some(bytes) = config_map.binary.get(key) {
            return Module::new(bytes.clone()).map_err(|error| (Reason::InvalidRef, error.to_string()));
        }
        if config_map.text.contains(key) {
            let message = format!(
                "{key} is text, and a module is not: put it under binaryData, as `kubectl create configmap {name} \
                 --from-file={key}` does"
            );
            return Err((Reason::InvalidRef, message));
        }
        Err((Reason::RefNotFound, format!("ConfigMap {name} has no key {key} in its binaryData: add it")))
    }
}

type Found = Result<Module, (Reason, String)>;
