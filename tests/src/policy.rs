//! Policies as Kubernetes objects, and the modules that they name.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A LoadBalancingPolicy with its modules.
#[derive(Clone)]
pub struct Policy {
    namespace: String,
    name: String,
    created: Option<String>,
    spec: Value,
    /// Name in the folder and content.
    modules: Vec<(String, Vec<u8>)>,
}

/// One of the checked-in modules: `rust/round-robin.wasm`.
///
/// # Panics
/// When there is none of this name.
pub fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// As `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component with nothing in it but this tag: enough to be delivered, not to be run.
pub fn component(tag: &str) -> Vec<u8> {
    let length = |length: usize| u8::try_from(length).expect("a short tag");
    let custom_section = [&[0, length(tag.len() + 1), length(tag.len())], tag.as_bytes()].concat();
    [b"\0asm\x0d\0\x01\0", &*custom_section].concat()
}

impl Policy {
    /// `NAME` in the namespace `default`, or `NAMESPACE/NAME`, with a checked-in module such as `rust/round-robin.wasm`.
    pub fn wasm(name: &str, module: &str) -> Self {
        Self::wasm_bytes(name, &module.replace('/', "-"), built(module))
    }

    /// The same with this module, in a file of this name.
    pub fn wasm_bytes(name: &str, file: &str, module: Vec<u8>) -> Self {
        let mut policy = Self::builtin(name, "Wasm");
        policy.spec["wasm"] = json!({ "source": { "file": file } });
        policy.modules.push((file.to_owned(), module));
        policy
    }

    /// With this module from a web server.
    pub fn http(name: &str, url: &str, module: &[u8]) -> Self {
        let source = json!({ "source": { "http": { "url": url } }, "sha256": sha256(module) });
        Self::builtin(name, "Wasm").set("/wasm", source)
    }

    /// With a module from a registry, and a Secret if that is named.
    pub fn image(name: &str, reference: &str, secret: Option<&str>) -> Self {
        let mut image = json!({ "reference": reference });
        if let Some(secret) = secret {
            image["pullSecretRef"] = json!({ "name": secret });
        }
        Self::builtin(name, "Wasm").set("/wasm", json!({ "source": { "image": image } }))
    }

    /// A built-in policy: `RoundRobin` … `Maglev`.
    pub fn builtin(name: &str, kind: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            created: None,
            spec: json!({ "targetRefs": [], "type": kind }),
            modules: Vec::new(),
        }
    }

    /// For this Service.
    #[must_use]
    pub fn target(self, service: &str) -> Self {
        self.target_ref(json!({ "group": "", "kind": "Service", "name": service }))
    }

    /// For this port of this Service.
    #[must_use]
    pub fn target_port(self, service: &str, port: &str) -> Self {
        self.target_ref(json!({ "group": "", "kind": "Service", "name": service, "sectionName": port }))
    }

    /// For whatever this names.
    #[must_use]
    pub fn target_ref(mut self, target: Value) -> Self {
        if let Some(targets) = self.spec["targetRefs"].as_array_mut() {
            targets.push(target);
        }
        self
    }

    /// What `init` gets.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.spec["wasm"]["config"] = config;
        self
    }

    /// Fuel for one pick.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.spec["wasm"]["limits"]["fuel"] = fuel.into();
        self
    }

    /// Memory of an instance.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.spec["wasm"]["limits"]["memoryMiB"] = mib.into();
        self
    }

    /// What the module must hash to.
    #[must_use]
    pub fn sha256(mut self, digest: &str) -> Self {
        self.spec["wasm"]["sha256"] = digest.into();
        self
    }

    /// Who answers when the module does not: `RoundRobin` … `Maglev`.
    #[must_use]
    pub fn fallback(mut self, kind: &str) -> Self {
        self.spec["fallback"] = kind.into();
        self
    }

    /// `failurePolicy: Refuse`.
    #[must_use]
    pub fn refuse(mut self) -> Self {
        self.spec["failurePolicy"] = "Refuse".into();
        self
    }

    /// The pod labels that it sees.
    #[must_use]
    pub fn endpoint_labels(mut self, labels: &[&str]) -> Self {
        self.spec["endpointLabels"] = json!(labels);
        self
    }

    /// What it may do: `Body`, `Reject`, `Hold`, `SensitiveHeaders`.
    #[must_use]
    pub fn allow(mut self, permissions: &[&str]) -> Self {
        self.spec["allow"] = json!(permissions);
        self
    }

    /// Its next version, a checked-in module, whose decisions are compared everywhere.
    #[must_use]
    pub fn shadow(self, module: &str) -> Self {
        self.candidate_bytes("Shadow", 100, &module.replace('/', "-"), built(module))
    }

    /// Its next version, a checked-in module, that serves on so many proxies out of a hundred.
    #[must_use]
    pub fn serve(self, module: &str, percent: u32) -> Self {
        self.candidate_bytes("Serve", percent, &module.replace('/', "-"), built(module))
    }

    /// Its next version: this module, in a file of this name.
    #[must_use]
    pub fn candidate_bytes(mut self, mode: &str, percent: u32, file: &str, module: Vec<u8>) -> Self {
        let source = json!({ "source": { "file": file } });
        self.spec["candidate"] = json!({ "mode": mode, "percent": percent, "wasm": source });
        self.modules.push((file.to_owned(), module));
        self
    }

    /// What the candidate's `init` gets. To be said after the candidate.
    #[must_use]
    pub fn candidate_config(mut self, config: Value) -> Self {
        self.spec["candidate"]["wasm"]["config"] = config;
        self
    }

    /// So many faults over all proxies take the candidate back. To be said after the candidate.
    #[must_use]
    pub fn abort_on_faults(mut self, faults: u32) -> Self {
        self.spec["candidate"]["abortOn"]["faults"] = faults.into();
        self
    }

    /// When it was created: of two that want the same port, the older one has it.
    #[must_use]
    pub fn created(mut self, time: &str) -> Self {
        self.created = Some(time.to_owned());
        self
    }

    /// Puts a value anywhere into its spec, such as `/wasm/source`. For what no other method has, and for what is wrong.
    ///
    /// # Panics
    /// When there is nothing at the pointer's parent.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self.spec.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
        parent[key] = value;
        self
    }

    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its name within the namespace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn modules(&self) -> &[(String, Vec<u8>)] {
        &self.modules
    }

    pub(crate) fn object(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        if let Some(created) = &self.created {
            metadata["creationTimestamp"] = created.as_str().into();
        }
        json!({
            "apiVersion": "wasmesh.io/v1alpha1",
            "kind": "LoadBalancingPolicy",
            "metadata": metadata,
            "spec": self.spec,
        })
    }
}
