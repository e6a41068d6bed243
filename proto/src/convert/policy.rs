//! Which policy balances a port, to the wire and back.

use std::sync::Arc;

use wasmesh_core::policy::{Allowed, ModuleDigest, OnFailure, PortPolicy, Trial, TrialMode, WasmPolicy, WasmProgram};

use super::Malformed;
use crate::wire;

pub(super) fn to_wire(policy: &PortPolicy) -> wire::PolicyRef {
    wire::PolicyRef {
        builtin: policy.builtin().name().to_owned(),
        wasm: policy.wasm().map(|policy| wasm_to_wire(policy)),
    }
}

pub(super) fn from_wire(policy: wire::PolicyRef) -> Result<PortPolicy, Malformed> {
    let builtin = policy.builtin.parse().unwrap_or_default();
    let Some(wasm) = policy.wasm else { return Ok(PortPolicy::Builtin(builtin)) };
    let allow = Allowed {
        body: wasm.allow_body,
        reject: wasm.allow_reject,
        hold: wasm.allow_hold,
        sensitive_headers: wasm.allow_sensitive_headers,
    };
    Ok(PortPolicy::Wasm(Arc::new(WasmPolicy {
        name: wasm.name,
        program: program_from_wire(wasm.program)?,
        fallback: builtin,
        on_failure: if wasm.refuse_on_failure { OnFailure::Refuse } else { OnFailure::Fallback },
        allow,
        trial: wasm.trial.map(trial_from_wire).transpose()?,
    })))
}

fn wasm_to_wire(policy: &WasmPolicy) -> wire::WasmPolicy {
    let WasmPolicy { name, program, fallback: _, on_failure, allow, trial } = policy;
    wire::WasmPolicy {
        name: name.clone(),
        program: Some(program_to_wire(program)),
        refuse_on_failure: *on_failure == OnFailure::Refuse,
        allow_body: allow.body,
        allow_reject: allow.reject,
        allow_hold: allow.hold,
        allow_sensitive_headers: allow.sensitive_headers,
        trial: trial.as_ref().map(|trial| wire::Trial {
            program: Some(program_to_wire(&trial.program)),
            mode: match trial.mode {
                TrialMode::Shadow => wire::trial::Mode::Shadow,
                TrialMode::Serve => wire::trial::Mode::Serve,
            }
            .into(),
            percent: trial.percent.into(),
            abort_on_faults: trial.abort_on_faults,
        }),
    }
}

fn trial_from_wire(trial: wire::Trial) -> Result<Trial, Malformed> {
    let percent = u8::try_from(trial.percent).ok().filter(|percent| *percent <= 100);
    Ok(Trial {
        mode: match wire::trial::Mode::try_from(trial.mode) {
            Ok(wire::trial::Mode::Serve) => TrialMode::Serve,
            // A mode that we do not know is not acted on.
            Ok(wire::trial::Mode::Shadow) | Err(_) => TrialMode::Shadow,
        },
        percent: percent
            .ok_or_else(|| Malformed::field("the percentage of a trial", &trial.percent, "0 to 100 expected"))?,
        abort_on_faults: trial.abort_on_faults,
        program: program_from_wire(trial.program)?,
    })
}

fn program_to_wire(program: &WasmProgram) -> wire::WasmProgram {
    let WasmProgram { module, config, fuel, memory_mib } = program;
    wire::WasmProgram { module: module.0.to_vec(), config: config.clone(), fuel: *fuel, memory_mib: *memory_mib }
}

fn program_from_wire(program: Option<wire::WasmProgram>) -> Result<WasmProgram, Malformed> {
    let program = program.ok_or(Malformed::Inconsistent("a policy without a program"))?;
    if program.fuel == 0 || program.memory_mib == 0 {
        return Err(Malformed::Inconsistent("a policy without fuel or memory"));
    }
    Ok(WasmProgram {
        module: digest_from_wire(&program.module)?,
        config: program.config,
        fuel: program.fuel,
        memory_mib: program.memory_mib,
    })
}

/// Reads a module's digest.
///
/// # Errors
/// When it has not 32 bytes.
pub fn digest_from_wire(bytes: &[u8]) -> Result<ModuleDigest, Malformed> {
    let digest = bytes.try_into().map(ModuleDigest);
    digest.map_err(|_| Malformed::field("a module's digest", &format!("{} bytes long", bytes.len()), "32 expected"))
}
