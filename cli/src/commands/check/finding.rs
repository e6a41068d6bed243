//! What a check has found.

use std::fmt::Write;

use serde_json::{Value, json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// Something does not work as its users may think.
    Warning,
    /// The mesh does not work.
    Error,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at.
    pub(super) about: &'static str,
    /// What was found.
    pub(super) says: String,
    /// What to do about it; empty where there is nothing to do.
    pub(super) fix: String,
}

impl Finding {
    pub(super) fn good(about: &'static str, says: impl Into<String>) -> Self {
        Self { level: Level::Good, about, says: says.into(), fix: String::new() }
    }

    pub(super) fn note(about: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Note, about, says: says.into(), fix: fix.into() }
    }

    pub(super) fn warning(about: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, about, says: says.into(), fix: fix.into() }
    }

    pub(super) fn error(about: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, about, says: says.into(), fix: fix.into() }
    }

    /// Something that could not be looked at.
    pub(super) fn unknown(about: &'static str, why: &str) -> Self {
        Self::note(about, format!("not checked: {why}"), "check again with a context that may look at it (--context)")
    }
}

/// All of them, for people.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let widest = findings.iter().map(|finding| finding.about.len()).max().unwrap_or_default();
    for Finding { level, about, says, fix } in findings {
        let _ = writeln!(text, "{:<7}  {about:<widest$}  {says}", level.name());
        if !fix.is_empty() {
            let _ = writeln!(text, "{:<7}  {:<widest$}  fix: {fix}", "", "");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let _ = writeln!(text, "\n{} errors, {} warnings", count(Level::Error), count(Level::Warning));
    text
}

/// All of them, for programs.
pub(super) fn json(findings: &[Finding]) -> Value {
    let page = |finding: &Finding| {
        json!({
            "level": finding.level.name(), "about": finding.about, "says": finding.says, "fix": finding.fix,
        })
    };
    json!({ "findings": findings.iter().map(page).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_line_and_its_fix_below() {
        let findings = [Finding::good("API server", "v1.36.2"), Finding::error("webhook", "not there", "install it")];
        let expected = "ok       API server  v1.36.2\n\
                        error    webhook     not there\n\
                        \x20                    fix: install it\n\
                        \n1 errors, 0 warnings\n";
        assert_eq!(text(&findings), expected);
        assert_eq!(json(&findings)["findings"][1]["level"], "error");
    }
}
