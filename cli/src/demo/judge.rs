//! Whether a phase went as it must.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    clients,
    mesh::WORKERS,
    phases::{Phase, Spread},
    protocol::Protocol,
    says::Said,
    tally::Tally,
};

/// How far apart the counts of a strict rotation may be: each worker rotates by itself, and at either end of the phase
/// each client has one request that took a turn but is counted elsewhere.
fn even_within(protocol: Protocol) -> u64 {
    (WORKERS + 2 * clients::at_a_time(protocol)) as u64
}

/// What a phase has shown.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Which.
    pub(super) name: &'static str,
    /// What was spoken.
    pub(super) protocol: Protocol,
    /// Requests that began while the change was on its way.
    pub(super) changing: Tally,
    /// Requests that began after it was acknowledged.
    pub(super) settled: Tally,
    /// Who has answered testers, if that matters.
    pub(super) testers: Option<BTreeMap<SocketAddr, u64>>,
    /// What the sidecar says of the policies of the user's own.
    pub(super) policies: Vec<Said>,
    /// What was not as it must be.
    pub(super) complaints: Vec<String>,
}

/// Judges the requests of a phase.
pub(super) fn judge(protocol: Protocol, phase: &Phase, changing: Tally, settled: Tally) -> Outcome {
    let unit = protocol.unit();
    let mut complaints = lost(unit, &changing, &settled);
    if !matches!(phase.spread, Spread::Any) {
        complaints.extend(idle(&phase.served, &settled));
    }
    complaints.extend(strangers(unit, &phase.served, &settled));
    let mut testers = None;
    match &phase.spread {
        Spread::Any | Spread::Each => {}
        Spread::Even => complaints.extend(uneven(even_within(protocol), &phase.served, &settled)),
        Spread::Testers(theirs) => {
            complaints.extend(mixed_up(unit, theirs, &settled));
            testers = Some(settled.testers.clone());
        }
    }
    Outcome { name: phase.name, protocol, changing, settled, testers, policies: Vec::new(), complaints }
}

fn lost(unit: &str, changing: &Tally, settled: &Tally) -> Vec<String> {
    let (sent, ended) = (changing.sent + settled.sent, changing.ended() + settled.ended());
    let errors = changing.errors + settled.errors;
    let mut complaints = Vec::new();
    if errors > 0 {
        let told: Vec<_> = changing.told.iter().chain(&settled.told).map(String::as_str).collect();
        complaints.push(format!("{errors} of {sent} {unit} failed: {}", told.join("; ")));
    }
    if ended < sent {
        complaints.push(format!("{} {unit} have not come to an end", sent - ended));
    }
    complaints
}

fn idle(served: &[SocketAddr], settled: &Tally) -> impl Iterator<Item = String> {
    let idle = served.iter().filter(|backend| settled.of(backend) == 0);
    idle.map(|backend| format!("{backend} should have been served and was not"))
}

fn strangers(unit: &str, served: &[SocketAddr], settled: &Tally) -> impl Iterator<Item = String> {
    let strangers = settled.answered.iter().filter(|(backend, _)| !served.contains(backend));
    strangers.map(move |(backend, count)| format!("{backend} got {count} {unit} and should get none"))
}

/// Requests of testers at others' backends, and others' requests at theirs.
fn mixed_up(unit: &str, theirs: &[SocketAddr], settled: &Tally) -> Vec<String> {
    let wrong = settled.answered.iter().filter_map(|(backend, all)| {
        let of_testers = settled.testers.get(backend).copied().unwrap_or_default();
        let (wrong, whose) = match theirs.contains(backend) {
            true => (all - of_testers, "of others"),
            false => (of_testers, "of testers"),
        };
        (wrong > 0).then(|| format!("{backend} got {wrong} {unit} {whose} and should get none"))
    });
    wrong.collect()
}

fn uneven(within: u64, served: &[SocketAddr], settled: &Tally) -> Option<String> {
    let counts = || served.iter().map(|backend| settled.of(backend));
    let (least, most) = (counts().min()?, counts().max()?);
    (most - least > within).then(|| {
        format!("counts from {least} to {most} are not a rotation: at most {within} apart were to be expected")
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{even_within, judge};
    use crate::demo::{
        phases::{Change, Phase, Spread},
        protocol::Protocol,
        tally::Tally,
    };

    fn addr(at: u16) -> SocketAddr {
        ([127, 0, 0, 1], at).into()
    }

    fn tally(counts: &[u64]) -> Tally {
        let answered = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Tally {
            sent: counts.iter().sum(),
            answered: answered.map(|(at, count)| (addr(at as u16), *count)).collect(),
            ..Tally::default()
        }
    }

    #[track_caller]
    fn check(spread: Spread, changing: Tally, settled: Tally, complaints: &[&str]) {
        let served = vec![addr(0), addr(1)];
        let phase =
            Phase { name: "x", story: String::new(), change: Change::StartTraffic { dead: None }, served, spread };
        assert_eq!(judge(Protocol::Http, &phase, changing, settled).complaints, complaints);
    }

    #[test]
    fn who_is_to_be_served_is_served_and_nobody_else() {
        check(Spread::Each, tally(&[]), tally(&[5, 1]), &[]);
        check(Spread::Each, tally(&[0, 0, 9]), tally(&[5, 1]), &[]);
        check(
            Spread::Each,
            tally(&[]),
            tally(&[5, 0, 2]),
            &["127.0.0.1:1 should have been served and was not", "127.0.0.1:2 got 2 requests and should get none"],
        );
    }

    #[test]
    fn an_error_is_an_error_also_while_things_change() {
        let one_lost = Tally { sent: 3, errors: 1, told: vec!["status 503".to_owned()], ..tally(&[1, 1]) };
        check(Spread::Each, one_lost.clone(), tally(&[5, 1]), &["1 of 9 requests failed: status 503"]);
        check(Spread::Each, tally(&[]), one_lost, &["1 of 3 requests failed: status 503"]);
        check(
            Spread::Each,
            Tally { sent: 2, ..Tally::default() },
            tally(&[5, 1]),
            &["2 requests have not come to an end"],
        );
    }

    #[test]
    fn a_policy_may_leave_some_out_but_not_the_list() {
        check(Spread::Any, tally(&[]), tally(&[5]), &[]);
        check(Spread::Any, tally(&[]), tally(&[5, 0, 2]), &["127.0.0.1:2 got 2 requests and should get none"]);
    }

    #[test]
    fn testers_have_backends_of_their_own() {
        let testers = Spread::Testers(vec![addr(1)]);
        let with =
            |testers: &[(SocketAddr, u64)]| Tally { testers: testers.iter().copied().collect(), ..tally(&[5, 3]) };
        check(testers.clone(), tally(&[]), with(&[(addr(1), 3)]), &[]);
        check(
            testers,
            tally(&[]),
            with(&[(addr(0), 1), (addr(1), 1)]),
            &[
                "127.0.0.1:0 got 1 requests of testers and should get none",
                "127.0.0.1:1 got 2 requests of others and should get none",
            ],
        );
    }

    #[test]
    fn a_rotation_is_even() {
        check(Spread::Even, tally(&[]), tally(&[1000, 1000 + even_within(Protocol::Http)]), &[]);
        check(Spread::Each, tally(&[]), tally(&[1000, 2000]), &[]);
        let complaint = "counts from 1000 to 1019 are not a rotation: at most 18 apart were to be expected";
        check(Spread::Even, tally(&[]), tally(&[1000, 1001 + even_within(Protocol::Http)]), &[complaint]);
    }
}
