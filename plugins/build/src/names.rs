//! What functions of a policy are called in core modules.

/// Interface and function of everything that a policy may export, and what a language calls it that has no such names.
pub(crate) const EXPORTS: [(&str, &str, &str); 4] = [
    ("policy", "init", "init"),
    ("policy", "update", "update"),
    ("policy", "pick", "pick"),
    ("feedback", "completed", "completed"),
];

/// The package of the contract, without a version.
const CONTRACT: &str = "wasmesh:policy/";
/// The package that policies in JavaScript are built against: the contract with 64-bit numbers in halves.
pub(crate) const JAVASCRIPT: &str = "wasmesh:javascript/";

/// The contract's version, for names that have none of their own.
pub(crate) const VERSION: &str = "0.1.0";

/// Whether this is a core export of a policy: the contract's, or JavaScript's.
pub(crate) fn is_pick(name: &str) -> bool {
    let rest = name.strip_prefix(CONTRACT).or_else(|| name.strip_prefix(JAVASCRIPT));
    rest.and_then(|rest| rest.split_once('#'))
        .is_some_and(|(interface, function)| interface.split('@').next() == Some("policy") && function == "pick")
}

/// Whether a core import is one that a host may answer.
pub(crate) fn is_contract(module: &str) -> bool {
    module.starts_with(CONTRACT)
}

/// What the contract calls this function of a core module.
pub(crate) fn contract_name(interface: &str, function: &str) -> String {
    format!("{CONTRACT}{interface}@{VERSION}#{function}")
}

/// The name of a module without the version that it may end with.
pub(crate) fn unversioned(module: &str) -> &str {
    module.split('@').next().unwrap_or(module)
}

/// Which of these exports is this function: by the contract's name, JavaScript's, or a plain one.
pub(crate) fn find<'a>(
    exports: &(impl Iterator<Item = &'a str> + Clone),
    interface: &str,
    function: &str,
    plain: &str,
) -> Option<&'a str> {
    let is_of = |name: &str, package: &str| {
        let rest = name.strip_prefix(package).and_then(|rest| rest.split_once('#'));
        rest.is_some_and(|(of, found)| unversioned(of) == interface && found == function)
    };
    let by_package = |package| exports.clone().find(move |name| is_of(name, package));
    by_package(CONTRACT).or_else(|| by_package(JAVASCRIPT)).or_else(|| exports.clone().find(|name| *name == plain))
}
