//! Whether picks are what was expected.

use std::collections::BTreeMap;

use super::{
    cases::Expectation,
    desk::{Chosen, Pick},
};

/// What is wrong with the picks of a case; `None` if nothing is.
pub(super) fn problem(expect: &Expectation, picks: &[Pick]) -> Option<String> {
    let mut counts: BTreeMap<&Chosen, usize> = BTreeMap::new();
    picks.iter().for_each(|pick| *counts.entry(&pick.choice).or_default() += 1);
    let got = || {
        let got = counts.iter().map(|(choice, count)| match picks.len() {
            1 => told(choice),
            _ => format!("{} {count}", told(choice)),
        });
        format!("got {}", got.collect::<Vec<_>>().join(", "))
    };
    let all = |is_so: &dyn Fn(&Chosen) -> bool| counts.keys().all(|choice| is_so(choice));
    if let Some(Chosen::Fault(why)) = counts.keys().find(|choice| matches!(choice, Chosen::Fault(_))) {
        return Some(format!("it failed: {why}"));
    }
    if let Some(name) = &expect.endpoint
        && !all(&|choice| *choice == Chosen::Endpoint(name.clone()))
    {
        return Some(format!("expected {name}, {}", got()));
    }
    if let Some(names) = &expect.only
        && !all(&|choice| matches!(choice, Chosen::Endpoint(name) if names.contains(name)))
    {
        return Some(format!("expected only {}, {}", names.join(", "), got()));
    }
    if expect.same && (counts.len() != 1 || !all(&|choice| matches!(choice, Chosen::Endpoint(_)))) {
        return Some(format!("expected one and the same endpoint, {}", got()));
    }
    for (name, share) in &expect.shares {
        let count = counts.get(&Chosen::Endpoint(name.clone())).copied().unwrap_or_default();
        let found = count as f64 / picks.len() as f64;
        if (found - share).abs() > expect.within {
            return Some(format!("expected a share of {share} ± {} for {name}, got {found:.3}", expect.within));
        }
    }
    if expect.fallback && !all(&|choice| *choice == Chosen::Fallback) {
        return Some(format!("expected the built-in policy to choose, {}", got()));
    }
    if let Some(status) = expect.reject
        && !all(&|choice| *choice == Chosen::Reject(status))
    {
        return Some(format!("expected it to reject with {status}, {}", got()));
    }
    if expect.hold && !all(&|choice| *choice == Chosen::Hold) {
        return Some(format!("expected it to hold the request, {}", got()));
    }
    let reason = expect.reason.as_ref()?;
    let other = picks.iter().find(|pick| pick.reason.as_ref() != Some(reason))?;
    Some(format!("expected the reason {reason}, got {}", other.reason.as_deref().unwrap_or("none")))
}

fn told(choice: &Chosen) -> String {
    match choice {
        Chosen::Endpoint(name) => name.clone(),
        Chosen::Overridden(name) => format!("{name} (not available, or just tried: a sidecar takes another)"),
        Chosen::Fallback => "the built-in policy".to_owned(),
        Chosen::Reject(status) => format!("reject {status}"),
        Chosen::Hold => "hold".to_owned(),
        Chosen::Fault(why) => why.clone(),
    }
}
