//! Whatever stands in a configuration, a policy that reads one says in words what is wrong with it, and what would be right.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::sync::{Arc, LazyLock};

use support::{about, load};
use wasmesh_policy_host::{Module, Policy, Rejection, Settings};

/// The policies in Rust that read a configuration, and one that each of them takes.
const READERS: [(&str, &str); 21] = [
    ("rust/bounded-load-hash", r#"{"key": "path", "percent": 101, "at-least": 0}"#),
    ("rust/canary-by-header", r#"{"canary": "v2", "label": "version", "header": "x-canary", "value": "yes"}"#),
    ("rust/error-penalty", r#"{"factor": 5, "half-life-ms": 100}"#),
    ("rust/least-reported", r#"{"report": "queue"}"#),
    ("rust/least-request", "{}"),
    ("rust/prefix-affinity", r#"{"key": "path", "report": "r", "queue": 0, "percent": 4294967295, "at-least": 9}"#),
    ("rust/ring-hash", r#"{"key": "header:x-\u0075ser"}"#),
    ("rust/round-robin", " { } "),
    ("rust/slow-start-ewma", r#"{"window-ms": 0, "aggression": 1, "least": 100, "factor": 0, "half-life-ms": 1}"#),
    ("rust/tenant-shards", r#"{"tenant": "cookie:tenant", "size": 8, "spill": false}"#),
    ("rust/zone-spillover", r#"{"slack": 0, "limit": 4294967295}"#),
    ("hostile/bulk", r#"{"after": 100000}"#),
    ("hostile/huge-strings", r#"{"lists": 100000}"#),
    ("hostile/memory-bomb", r#"{"after": 100000}"#),
    ("hostile/memory-bomb-at-once", r#"{"after": 100000}"#),
    ("hostile/recursion", r#"{"after": 100000}"#),
    ("hostile/refuse-update", r#"{"after": 100000}"#),
    ("hostile/spin", r#"{"after": 100000}"#),
    ("hostile/trap", r#"{"every": 100000}"#),
    ("hostile/trap-update", r#"{"after": 100000}"#),
    ("hostile/wrong-index", r#"{"after": 100000}"#),
];

static MODULES: LazyLock<Vec<(&str, &str, Arc<Module>)>> =
    LazyLock::new(|| READERS.into_iter().map(|(name, config)| (name, config, load(name))).collect());

/// Beyond every buffer that somebody might have thought to be large enough.
const LENGTHS: [usize; 6] = [1, 16, 63, 64, 65, 20_000];

/// The words of whoever refuses this; anything else than words fails the test.
fn refusal(name: &str, module: &Arc<Module>, config: String) -> String {
    let begin: String = config.chars().take(80).collect();
    match Policy::prepare(module, Settings { config, ..Settings::default() }, &about()) {
        Ok(_) => panic!("{name} takes {begin}"),
        Err(Rejection::Refused(words)) => words,
        Err(other) => panic!("{name} with {begin}: {other}"),
    }
}

#[track_caller]
fn check_refused(name: &str, module: &Arc<Module>, config: &str, part: &str) {
    let words = refusal(name, module, config.to_owned());
    assert!(words.starts_with("config: ") && words.contains(part), "{name} {config}: {words}");
    assert!(words.contains("; this policy takes {"), "{name} {config}: {words}");
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_in_words() {
    for (name, config, module) in MODULES.iter() {
        let taken = Policy::prepare(module, Settings { config: (*config).to_owned(), ..Settings::default() }, &about());
        // Some of the hostile ones do not get through the dry run, but they get past `init`.
        assert!(
            !matches!(taken, Err(Rejection::Refused(_) | Rejection::Fault { call: "init", .. })),
            "{name} {config}"
        );
        check_refused(name, module, r#"{"nonsense": true}"#, "nonsense");
        check_refused(name, module, "[1]", "object");
        check_refused(name, module, r#""text""#, "object");
        check_refused(name, module, "{} {}", "nothing more");
        check_refused(name, module, r#"{"a": {"b": 1}}"#, "a string, a number");
        check_refused(name, module, r#"{"a": "\ud800"}"#, r"\ud800");
        for length in LENGTHS {
            let unknown = "ü".repeat(length);
            let words = refusal(name, module, format!(r#"{{"{unknown}": null}}"#));
            assert!(words.starts_with(r#"config: it knows no "ü"#), "{name} {length}: {words}");
            let words = refusal(name, module, format!(r#"{{"a": {unknown}}}"#));
            assert!(words.starts_with("config: ") && words.contains("üü") == (length > 1), "{name} {length}: {words}");
            refusal(name, module, "[".repeat(length));
            refusal(name, module, format!(r#"{{"{}"#, r"\u00fc".repeat(length)));
        }
    }
}

#[test]
fn every_part_of_a_configuration_is_refused_in_words() {
    for (name, config, module) in MODULES.iter() {
        let config = config.trim();
        for end in 0..config.len() {
            check_refused(name, module, &config[..end], "should be");
        }
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_named() {
    for (name, config, module) in MODULES.iter() {
        let values: serde_json::Map<_, _> = serde_json::from_str(config).unwrap();
        for (field, value) in values.iter().filter(|(_, value)| !value.is_null()) {
            let wrong = ["true", "7", r#""text""#, "-1", "0.5", "1e400", "18446744073709551616"];
            for wrong in wrong.into_iter().filter(|wrong| !is_of_kind(wrong, value)) {
                let words = format!("{field} must be");
                check_refused(name, module, &format!(r#"{{"{field}": {wrong}}}"#), &words);
            }
            let (value, long) = (value.to_string(), "x".repeat(70_000));
            check_refused(name, module, &format!(r#"{{"{field}": {value}, "{field}": {value}}}"#), "twice");
            if !value.starts_with('"') {
                refusal(name, module, format!(r#"{{"{field}": "{long}"}}"#));
            }
        }
    }
}

#[test]
fn names_of_an_authors_own_may_be_anything_and_what_they_stand_for_may_not() {
    for (name, config, wrong) in [
        ("rust/weighted-zones", r#"{"eu-1": 80, "": 0}"#, "true"),
        ("rust/grpc-method-routing", r#"{"label": "tier", "/a.B/*": "x, *", "*": "y"}"#, "1"),
    ] {
        let module = load(name);
        Policy::prepare(&module, Settings { config: config.to_owned(), ..Settings::default() }, &about()).unwrap();
        for end in 0..config.len() {
            check_refused(name, &module, &config[..end], "should be");
        }
        for length in LENGTHS {
            let own = format!("/{}", "ü".repeat(length));
            let words = refusal(name, &module, format!(r#"{{"{own}": {wrong}}}"#));
            // The host cuts words that are too many.
            let is_whole = length < 100;
            assert!(words.starts_with("config: /ü") && words.contains(" must be ") == is_whole, "{name}: {words}");
            let twice = config.replacen('{', &format!(r#"{{"{own}": {wrong}, "{own}": {wrong}, "#), 1);
            assert_eq!(refusal(name, &module, twice).contains("is there twice"), is_whole, "{name}");
        }
    }
}

/// Whether one may stand in the place of the other.
fn is_of_kind(text: &str, value: &serde_json::Value) -> bool {
    match text {
        "true" => value.is_boolean(),
        "7" => value.is_number(),
        _ => text.starts_with('"') && value.is_string(),
    }
}
