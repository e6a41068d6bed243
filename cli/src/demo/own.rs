//! Policies of the user's own: the modules that the demo brings along, the objects that put them in place, and what the
//! sidecar is to say of them. Pure.

use std::fmt::Write;

use super::{protocol::Protocol, says::Said};

/// A WebAssembly component, as it is checked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module {
    /// Language and name, as in plugins/policies/built.
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
}

macro_rules! built {
    ($name:literal) => {
        Module { name: $name, bytes: include_bytes!(concat!("../../../plugins/policies/built/", $name, ".wasm")) }
    };
}

pub(super) const CANARY_IN_RUST: Module = built!("rust/canary-by-header");
pub(super) const ROUND_ROBIN_IN_C: Module = built!("c/round-robin");
pub(super) const LEAST_REQUEST_IN_RUST: Module = built!("rust/least-request");
pub(super) const SPIN: Module = built!("hostile/spin");
pub(super) const TRAP: Module = built!("hostile/trap");

/// A module and its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) module: Module,
    /// An object in JSON.
    pub(super) config: &'static str,
}

/// What is declared for a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) program: Program,
    /// The label of its pods that it sees.
    pub(super) label: Option<&'static str>,
    /// The next version, which is tried everywhere.
    pub(super) candidate: Option<Candidate>,
    /// What must come of it before it is watched.
    pub(super) comes: Comes,
}

/// A program on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) program: Program,
    /// So many faults take it back.
    pub(super) abort_on_faults: u32,
}

/// What becomes of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comes {
    /// It decides.
    ToServe,
    /// It fails, and is left alone.
    IntoQuarantine,
    /// It decides again, because its candidate has failed.
    BackFromTrial,
}

impl Program {
    /// Without a configuration.
    pub(super) const fn of(module: Module) -> Self {
        Self { module, config: "{}" }
    }
}

impl Module {
    /// Where it stands in the folder.
    pub(super) fn file(&self) -> String {
        format!("policies/{}.wasm", self.name)
    }

    /// What the sidecar calls it.
    pub(super) fn digest(&self) -> String {
        wasmesh_policy_host::digest(self.bytes).to_string()
    }
}

impl Own {
    /// What serves for as long as nothing is on trial.
    pub(super) const fn of(program: Program) -> Self {
        Self { program, label: None, candidate: None, comes: Comes::ToServe }
    }

    /// All modules that it names.
    pub(super) fn modules(&self) -> impl Iterator<Item = Module> {
        [Some(self.program), self.candidate.map(|candidate| candidate.program)].into_iter().flatten().map(|p| p.module)
    }

    /// The LoadBalancingPolicy.
    pub(super) fn object(&self, protocol: Protocol) -> String {
        let service = protocol.service();
        let mut text = format!(
            "# Who chooses endpoints for {service}: a module of the user's own.\n\
             apiVersion: wasmesh.io/v1alpha1\n\
             kind: LoadBalancingPolicy\n\
             metadata: {{name: {service}, namespace: default}}\n\
             spec:\n  \
               targetRefs: [{{group: \"\", kind: Service, name: {service}}}]\n  \
               type: Wasm\n  \
               wasm: {}\n  \
               fallback: LeastRequest\n",
            wasm(&self.program)
        );
        if let Some(label) = self.label {
            let _ = writeln!(text, "  endpointLabels: [{label}]");
        }
        if let Some(Candidate { program, abort_on_faults }) = &self.candidate {
            let _ = write!(
                text,
                "  candidate:\n    mode: Serve\n    percent: 100\n    abortOn: {{faults: {abort_on_faults}}}\n    wasm: {}\n",
                wasm(program)
            );
        }
        text
    }

    /// What the sidecar must have said, one after the other.
    pub(super) fn milestones(&self) -> Vec<Milestone> {
        let serves = Milestone { module: self.program.module, trial: false, phase: "programmed", decides: true };
        let candidate = self.candidate.map(|candidate| candidate.program.module);
        let aborted = candidate.map(|module| Milestone { module, trial: true, phase: "aborted", decides: false });
        match self.comes {
            Comes::ToServe => vec![serves],
            Comes::IntoQuarantine => vec![Milestone { phase: "quarantined", decides: false, ..serves }],
            Comes::BackFromTrial => aborted.into_iter().chain([serves]).collect(),
        }
    }
}

/// A state that a policy reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Milestone {
    pub(super) module: Module,
    pub(super) trial: bool,
    pub(super) phase: &'static str,
    /// It must have chosen at least once.
    decides: bool,
}

impl Milestone {
    /// Whether what the sidecar says is it.
    pub(super) fn is_reached(&self, said: &Said) -> bool {
        said.is_of(&self.module)
            && said.trial == self.trial
            && said.phase == self.phase
            && (!self.decides || said.picks > 0)
    }
}

/// In YAML's flow style, of which JSON is a part.
fn wasm(Program { module, config }: &Program) -> String {
    format!("{{source: {{file: {}}}, config: {config}}}", module.file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_names_its_modules() {
        let own = Own {
            label: Some("version"),
            candidate: Some(Candidate {
                program: Program { module: TRAP, config: r#"{"every": 7}"# },
                abort_on_faults: 2,
            }),
            comes: Comes::BackFromTrial,
            ..Own::of(Program::of(ROUND_ROBIN_IN_C))
        };
        let expected = "\
# Who chooses endpoints for echo: a module of the user's own.
apiVersion: wasmesh.io/v1alpha1
kind: LoadBalancingPolicy
metadata: {name: echo, namespace: default}
spec:
  targetRefs: [{group: \"\", kind: Service, name: echo}]
  type: Wasm
  wasm: {source: {file: policies/c/round-robin.wasm}, config: {}}
  fallback: LeastRequest
  endpointLabels: [version]
  candidate:
    mode: Serve
    percent: 100
    abortOn: {faults: 2}
    wasm: {source: {file: policies/hostile/trap.wasm}, config: {\"every\": 7}}
";
        assert_eq!(own.object(Protocol::Grpc), expected);
        assert_eq!(own.modules().collect::<Vec<_>>(), [ROUND_ROBIN_IN_C, TRAP]);
    }

    #[test]
    fn what_is_waited_for_is_told_apart() {
        let said = |module: Module, trial, phase: &str, picks| Said {
            service: "default/echo".to_owned(),
            module: module.digest(),
            trial,
            phase: phase.to_owned(),
            picks,
            ..Said::default()
        };
        let [serves] = Own::of(Program::of(SPIN)).milestones()[..] else { panic!("one milestone") };
        assert!(serves.is_reached(&said(SPIN, false, "programmed", 1)));
        for other in [
            said(TRAP, false, "programmed", 1),
            said(SPIN, true, "programmed", 1),
            said(SPIN, false, "loading", 1),
            said(SPIN, false, "programmed", 0),
        ] {
            assert!(!serves.is_reached(&other), "{other:?}");
        }
        let quarantined = Own { comes: Comes::IntoQuarantine, ..Own::of(Program::of(SPIN)) }.milestones();
        assert!(quarantined.len() == 1 && quarantined[0].is_reached(&said(SPIN, false, "quarantined", 0)));
        let candidate = Some(Candidate { program: Program::of(TRAP), abort_on_faults: 2 });
        let back = Own { candidate, comes: Comes::BackFromTrial, ..Own::of(Program::of(SPIN)) }.milestones();
        assert!(back.len() == 2 && back[0].is_reached(&said(TRAP, true, "aborted", 5)) && back[1] == serves);
    }
}
