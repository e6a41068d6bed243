//! The names of the contract: which interfaces there are, and in which version.

/// The contract's version that this host is made for. Any 0.1.x is taken whose imports it knows.
pub(crate) const VERSION: &str = "0.1.0";

/// The interface that makes a component a policy.
pub(crate) const POLICY: &str = "policy";
/// The interface that only some policies export.
pub(crate) const FEEDBACK: &str = "feedback";

/// The interfaces that a policy may import.
const IMPORTS: [&str; 4] = ["types", "stats", "request-info", "log"];

/// What a name of a component's import or export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// An interface of this contract, without package and version.
    Ours(&'a str),
    /// An interface of another version of this contract.
    OtherVersion(&'a str),
    /// Anything else.
    Foreign,
}

impl<'a> Name<'a> {
    /// Reads a name such as `wasmesh:policy/stats@0.1.0`.
    pub(crate) fn parse(name: &'a str) -> Self {
        let Some(rest) = name.strip_prefix("wasmesh:policy/") else {
            return Self::Foreign;
        };
        match rest.split_once('@') {
            Some((interface, version)) if is_compatible(version) => Self::Ours(interface),
            Some((_, version)) => Self::OtherVersion(version),
            None => Self::Foreign,
        }
    }
}

/// Whether an interface may be imported.
pub(crate) fn is_import(interface: &str) -> bool {
    IMPORTS.contains(&interface)
}

/// 0.1 followed by a number: what semver calls compatible with 0.1.0.
fn is_compatible(version: &str) -> bool {
    version.strip_prefix("0.1.").is_some_and(|patch| patch.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for (name, expected) in [
            ("wasmesh:policy/stats@0.1.0", Name::Ours("stats")),
            ("wasmesh:policy/stats@0.1.12", Name::Ours("stats")),
            ("wasmesh:policy/stats@0.2.0", Name::OtherVersion("0.2.0")),
            ("wasmesh:policy/stats@0.1.0-rc1", Name::OtherVersion("0.1.0-rc1")),
            ("wasmesh:policy/stats", Name::Foreign),
            ("wasi:cli/stdout@0.2.0", Name::Foreign),
            ("stats", Name::Foreign),
        ] {
            assert_eq!(Name::parse(name), expected, "{name}");
        }
    }
}
