//! Which policy balances a Service port: a built-in one, or a user's module with everything that it is run with.
//!
//! A module is named by its digest alone. Where its bytes come from and what runs them is not known here.

use std::{fmt, str::FromStr, sync::Arc};

use super::BuiltinPolicy;
use crate::version::{CanonicalWriter, Version};

/// The policy of a Service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortPolicy {
    /// One that the proxy brings along.
    Builtin(BuiltinPolicy),
    /// A user's module.
    Wasm(Arc<WasmPolicy>),
}

/// A user's policy as its object declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmPolicy {
    /// Name of the object, in the namespace of the Service.
    pub name: String,
    /// What serves.
    pub program: WasmProgram,
    /// Who answers when the module fails, or says that it does not want to.
    pub fallback: BuiltinPolicy,
    /// What happens to a request for which the module fails.
    pub on_failure: OnFailure,
    /// What the module may do beyond choosing endpoints.
    pub allow: Allowed,
    /// The next version, tried out beside the present one.
    pub trial: Option<Trial>,
}

/// A module and what it is run with. Two that are equal make the same decisions on the same input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WasmProgram {
    /// Which module.
    pub module: ModuleDigest,
    /// What its `init` gets: a JSON object.
    pub config: String,
    /// Fuel for one pick: about one unit per WebAssembly instruction.
    pub fuel: u64,
    /// The most linear memory an instance may have, in MiB.
    pub memory_mib: u32,
}

/// SHA-256 of a module's bytes. Displayed and read in lower-case hexadecimal, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleDigest(pub [u8; 32]);

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256: 64 hexadecimal digits expected, as sha256sum prints them")]
pub struct InvalidDigest(String);

/// `failurePolicy` of a policy object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFailure {
    /// The fallback policy answers.
    #[default]
    Fallback,
    /// 503 for HTTP, a reset for TCP: for policies that must not be bypassed.
    Refuse,
}

/// `allow` of a policy object: what a module may do beyond choosing endpoints. Nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Allowed {
    /// Reading the beginning of request bodies.
    pub body: bool,
    /// Answering requests with a status of its own.
    pub reject: bool,
    /// Keeping requests waiting.
    pub hold: bool,
    /// Reading `Authorization`, `Cookie` and their like. Only an administrator can grant it.
    pub sensitive_headers: bool,
}

/// The next version of a policy, on trial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trial {
    /// What is tried.
    pub program: WasmProgram,
    /// What becomes of its decisions.
    pub mode: TrialMode,
    /// On how many proxies out of a hundred.
    pub percent: u8,
    /// So many faults on a proxy end the trial there; over the whole mesh, everywhere. `None` never does.
    pub abort_on_faults: Option<u32>,
}

/// What becomes of the decisions of a policy on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrialMode {
    /// Compared with those of the one that serves, and not acted on.
    Shadow,
    /// Acted on.
    Serve,
}

impl From<BuiltinPolicy> for PortPolicy {
    fn from(policy: BuiltinPolicy) -> Self {
        Self::Builtin(policy)
    }
}

impl Default for PortPolicy {
    fn default() -> Self {
        BuiltinPolicy::default().into()
    }
}

impl PortPolicy {
    /// The built-in policy that answers where no module does.
    pub fn builtin(&self) -> BuiltinPolicy {
        match self {
            Self::Builtin(policy) => *policy,
            Self::Wasm(policy) => policy.fallback,
        }
    }

    /// The user's policy, if it is one.
    pub fn wasm(&self) -> Option<&Arc<WasmPolicy>> {
        match self {
            Self::Builtin(_) => None,
            Self::Wasm(policy) => Some(policy),
        }
    }

    /// Its name in metrics and on admin pages: of the built-in policy, or of the object.
    pub fn name(&self) -> &str {
        match self {
            Self::Builtin(policy) => policy.name(),
            Self::Wasm(policy) => &policy.name,
        }
    }

    /// A hash of what tells it from every other policy, the same everywhere.
    pub fn version(&self) -> Version {
        let mut writer = CanonicalWriter::default();
        self.write(&mut writer);
        Version(writer.finish())
    }

    /// Writes what tells it from every other policy.
    pub(crate) fn write(&self, writer: &mut CanonicalWriter) {
        match self {
            Self::Builtin(policy) => writer.text(policy.name()),
            Self::Wasm(policy) => {
                // No built-in policy has this name.
                writer.text("wasm");
                policy.write(writer);
            }
        }
    }
}

impl WasmPolicy {
    fn write(&self, writer: &mut CanonicalWriter) {
        let Self { name, program, fallback, on_failure, allow, trial } = self;
        writer.text(name);
        program.write(writer);
        writer.text(fallback.name());
        writer.number(match on_failure {
            OnFailure::Fallback => 0u64,
            OnFailure::Refuse => 1,
        });
        let Allowed { body, reject, hold, sensitive_headers } = *allow;
        let allowed = [body, reject, hold, sensitive_headers];
        writer.number(allowed.iter().enumerate().map(|(bit, set)| u64::from(*set) << bit).sum::<u64>());
        writer.length(usize::from(trial.is_some()));
        if let Some(trial) = trial {
            trial.write(writer);
        }
    }
}

impl WasmProgram {
    /// Fuel for one pick unless an object says otherwise: about 0.1 ms.
    pub const DEFAULT_FUEL: u64 = 1_000_000;
    /// Memory of an instance unless an object says otherwise, in MiB.
    pub const DEFAULT_MEMORY_MIB: u32 = 16;

    fn write(&self, writer: &mut CanonicalWriter) {
        let Self { module, config, fuel, memory_mib } = self;
        writer.text(&module.to_string());
        writer.text(config);
        writer.number(*fuel);
        writer.number(*memory_mib);
    }
}

impl Trial {
    /// Whether the proxy of a pod takes part; `pod` is a hash of what names the pod. As the percentage grows, pods join and
    /// none leaves.
    pub fn includes(&self, pod: u64) -> bool {
        let share = (u128::from(pod) * 100) >> 64;
        share < u128::from(self.percent)
    }

    /// A hash of what tells it from every other trial, the same everywhere.
    pub fn version(&self) -> Version {
        let mut writer = CanonicalWriter::default();
        self.write(&mut writer);
        Version(writer.finish())
    }

    fn write(&self, writer: &mut CanonicalWriter) {
        let Self { program, mode, percent, abort_on_faults } = self;
        program.write(writer);
        writer.number(match mode {
            TrialMode::Shadow => 0u64,
            TrialMode::Serve => 1,
        });
        writer.number(*percent);
        // 0 and none differ.
        writer.number(abort_on_faults.map_or(0, |faults| u64::from(faults) + 1));
    }
}

impl ModuleDigest {
    /// The first twelve digits: enough to tell modules apart where people read.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ModuleDigest {
    type Err = InvalidDigest;

    /// Reads 64 hexadecimal digits of either case, with or without `sha256:` before them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDigest(text.to_owned());
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = (high.ok_or_else(invalid)? * 16 + low.ok_or_else(invalid)?) as u8;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(percent: u8) -> Trial {
        let program = WasmProgram { module: ModuleDigest([7; 32]), config: "{}".to_owned(), fuel: 1, memory_mib: 1 };
        Trial { program, mode: TrialMode::Serve, percent, abort_on_faults: None }
    }

    #[test]
    fn a_growing_trial_keeps_its_pods() {
        let pods: Vec<u64> = (0..1_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut before = 0;
        for percent in 0..=100 {
            let (now, earlier) = (trial(percent), trial(percent.saturating_sub(1)));
            assert!(pods.iter().all(|pod| !earlier.includes(*pod) || now.includes(*pod)));
            let count = pods.iter().filter(|pod| now.includes(**pod)).count();
            assert!(count >= before && count.abs_diff(usize::from(percent) * 10) < 50, "{percent} %: {count}");
            before = count;
        }
        assert!(trial(100).includes(u64::MAX) && !trial(0).includes(0));
    }

    #[test]
    fn digests_are_read_as_they_are_written() {
        let digest = ModuleDigest(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(format!("sha256:{}", digest.to_string().to_uppercase()).parse(), Ok(digest));
        assert_eq!(digest.short(), &digest.to_string()[..12]);
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &format!("{}é", "0".repeat(62))] {
            assert!(text.parse::<ModuleDigest>().is_err(), "{text}");
        }
    }
}
