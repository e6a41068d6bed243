//! Several policies in one table.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::report::{COLUMNS, DEBUG_BUILD, Report};

/// What programs read of one of them.
#[derive(Serialize)]
struct Row<'a> {
    file: String,
    bytes: usize,
    #[serde(flatten)]
    report: &'a Report,
}

/// A table in Markdown, which people can read as it is.
pub(super) fn text(files: &[PathBuf], reports: &[Report]) -> String {
    let head = std::iter::once("policy").chain(COLUMNS).map(str::to_owned).collect();
    let rule = std::iter::once("---").chain(COLUMNS.map(|_| "---:")).map(str::to_owned).collect();
    let rows = files
        .iter()
        .zip(reports)
        .map(|(file, report)| std::iter::once(short(file)).chain(report.cells()).collect::<Vec<_>>());
    let lines = [head, rule].into_iter().chain(rows).map(|cells| format!("| {} |\n", cells.join(" | ")));
    let mut text: String = lines.collect();
    if cfg!(debug_assertions) {
        text.push_str(&format!("beware: {DEBUG_BUILD}\n"));
    }
    text
}

/// One object of all.
pub(super) fn json(files: &[PathBuf], reports: &[Report]) -> serde_json::Result<String> {
    let row =
        |(file, report): (&PathBuf, _)| Row { file: file.display().to_string(), bytes: Report::bytes(report), report };
    let rows: Vec<_> = files.iter().zip(reports).map(row).collect();
    serde_json::to_string(&serde_json::json!({ "policies": rows }))
}

/// The file and the folder that it is in, because the same policy may be there in several languages.
fn short(file: &Path) -> String {
    let parts: Vec<_> = file.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let last = parts.iter().skip(parts.len().saturating_sub(2)).collect::<PathBuf>();
    last.with_extension("").display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_called_by_its_file_and_folder() {
        for (file, expected) in [
            ("plugins/policies/built/go/round-robin.wasm", "go/round-robin"),
            ("../mine.wasm", "mine"),
            ("mine.wasm", "mine"),
        ] {
            assert_eq!(short(Path::new(file)), expected);
        }
    }
}
