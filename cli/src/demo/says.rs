//! What the sidecar says of policies: its page `/debug/policies`, and how the demo tells it on.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::own::Module;

/// The page.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) policies: Vec<Said>,
}

/// One module on one port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) service: String,
    /// Its SHA-256 as the sidecar has it, its name once it is known to the demo.
    pub(super) module: String,
    /// Whether it is a candidate.
    pub(super) trial: bool,
    pub(super) phase: String,
    /// Picks that it decided.
    pub(super) picks: u64,
    /// Picks that the built-in policy decided in its place.
    pub(super) fallbacks: u64,
    /// By reason.
    pub(super) faults: BTreeMap<String, u64>,
    /// The last thing that was wrong; empty if nothing was.
    pub(super) reason: String,
}

impl Said {
    /// Whether it is about this module.
    pub(super) fn is_of(&self, module: &Module) -> bool {
        self.module == module.digest()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, trial, phase, picks, fallbacks, faults, reason, .. } = self;
        let role = if *trial { "candidate " } else { "" };
        let faults: Vec<_> = faults.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let faults = if faults.is_empty() { "0".to_owned() } else { faults.join(", ") };
        write!(f, "{role}{module} {phase}; picks {picks}, fallbacks {fallbacks}, faults {faults}")?;
        if !reason.is_empty() {
            write!(f, "; {reason}")?;
        }
        Ok(())
    }
}

/// What was said of a Service in the course of a phase: how things stand at its end, and by name. A state that was waited
/// for is told even if it did not last: a quarantine ends, and a candidate that was taken back is forgotten.
pub(super) fn told(service: &str, modules: &[Module], reached: &[Said], at_end: Vec<Said>) -> Vec<Said> {
    let mut told: Vec<_> = at_end.into_iter().filter(|said| said.service == service).collect();
    for said in reached {
        match told.iter_mut().find(|now| now.module == said.module && now.trial == said.trial) {
            Some(now) => (now.phase, now.reason) = (said.phase.clone(), said.reason.clone()),
            None => told.push(said.clone()),
        }
    }
    for said in &mut told {
        if let Some(module) = modules.iter().find(|module| said.is_of(module)) {
            said.module = module.name.to_owned();
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::{Said, told};
    use crate::demo::own::{SPIN, TRAP};

    fn said(module: String, trial: bool, phase: &str, picks: u64) -> Said {
        Said { service: "default/echo".to_owned(), module, trial, phase: phase.to_owned(), picks, ..Said::default() }
    }

    #[test]
    fn what_did_not_last_is_told_too() {
        let quarantined = Said { reason: "it was slow".to_owned(), ..said(SPIN.digest(), false, "quarantined", 1) };
        let reached = [quarantined, said(TRAP.digest(), true, "aborted", 2)];
        let other = Said { service: "default/podinfo".to_owned(), ..Said::default() };
        let at_end = vec![other, said(SPIN.digest(), false, "programmed", 9)];
        let told = told("default/echo", &[SPIN, TRAP], &reached, at_end);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].to_string(), "hostile/spin quarantined; picks 9, fallbacks 0, faults 0; it was slow");
        assert_eq!(told[1].to_string(), "candidate hostile/trap aborted; picks 2, fallbacks 0, faults 0");
    }

    #[test]
    fn faults_have_reasons() {
        let said = Said { faults: [("fuel".to_owned(), 3)].into(), ..said("x".to_owned(), false, "programmed", 1) };
        assert_eq!(said.to_string(), "x programmed; picks 1, fallbacks 0, faults fuel 3");
    }
}
