//! docs/services.md names tests that exist, and every row.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What `cargo xtask conformance` runs.
const CONFORMANCE: &str = include_str!("../../examples/conformance/rows/mod.rs");

const PAGE: &str = include_str!("../../../docs/services.md");

/// Every function of the workspace's sources and tests, by name.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["core", "control-plane", "proxy", "tests"].iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn the_page_of_services_has_every_row_and_names_tests_that_exist() {
    let functions = functions();
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")).collect();
    for (number, row) in (1..).zip(&rows) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells[0], number.to_string(), "{row}");
        let tests: Vec<_> = cells[4].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        let runs = CONFORMANCE.matches(&format!("::row_{number}_")).count();
        assert!(runs > 0, "row {number} is not in the table of conformance");
        for test in tests {
            assert!(functions.contains(test), "row {number} names {test}, which is not there");
        }
    }
    assert_eq!(rows.len(), 40);
}
