//! Whether a phase went as it must.

use std::net::SocketAddr;

use super::{clients::HTTP_CLIENTS, mesh::WORKERS, phases::Phase, protocol::Protocol, tally::Tally};

/// How far apart the counts of a strict rotation may be: each worker rotates by itself, and at either end of the phase
/// each client has one request that took a turn but is counted elsewhere.
const EVEN_WITHIN: u64 = (WORKERS + 2 * HTTP_CLIENTS) as u64;

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
    /// What was not as it must be.
    pub(super) complaints: Vec<String>,
}

/// Judges the requests of a phase.
pub(super) fn judge(protocol: Protocol, phase: &Phase, changing: Tally, settled: Tally) -> Outcome {
    let mut complaints = lost(protocol.unit(), &changing, &settled);
    complaints.extend(misplaced(protocol.unit(), &phase.served, &settled));
    complaints.extend(phase.even.then(|| uneven(&phase.served, &settled)).flatten());
    Outcome { name: phase.name, protocol, changing, settled, complaints }
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

fn misplaced(unit: &str, served: &[SocketAddr], settled: &Tally) -> Vec<String> {
    let idle = served.iter().filter(|backend| settled.of(backend) == 0);
    let idle = idle.map(|backend| format!("{backend} should have been served and was not"));
    let strangers = settled.answered.iter().filter(|(backend, _)| !served.contains(backend));
    let strangers = strangers.map(|(backend, count)| format!("{backend} got {count} {unit} and should get none"));
    idle.chain(strangers).collect()
}

fn uneven(served: &[SocketAddr], settled: &Tally) -> Option<String> {
    let counts = || served.iter().map(|backend| settled.of(backend));
    let (least, most) = (counts().min()?, counts().max()?);
    (most - least > EVEN_WITHIN).then(|| {
        format!("counts from {least} to {most} are not a rotation: at most {EVEN_WITHIN} apart were to be expected")
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{EVEN_WITHIN, judge};
    use crate::demo::{
        phases::{Change, Phase},
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
    fn check(even: bool, changing: Tally, settled: Tally, complaints: &[&str]) {
        let served = vec![addr(0), addr(1)];
        let phase =
            Phase { name: "x", story: String::new(), change: Change::StartTraffic { dead: None }, served, even };
        assert_eq!(judge(Protocol::Http, &phase, changing, settled).complaints, complaints);
    }

    #[test]
    fn who_is_to_be_served_is_served_and_nobody_else() {
        check(false, tally(&[]), tally(&[5, 1]), &[]);
        check(false, tally(&[0, 0, 9]), tally(&[5, 1]), &[]);
        check(
            false,
            tally(&[]),
            tally(&[5, 0, 2]),
            &["127.0.0.1:1 should have been served and was not", "127.0.0.1:2 got 2 requests and should get none"],
        );
    }

    #[test]
    fn an_error_is_an_error_also_while_things_change() {
        let one_lost = Tally { sent: 3, errors: 1, told: vec!["status 503".to_owned()], ..tally(&[1, 1]) };
        check(false, one_lost.clone(), tally(&[5, 1]), &["1 of 9 requests failed: status 503"]);
        check(false, tally(&[]), one_lost, &["1 of 3 requests failed: status 503"]);
        check(false, Tally { sent: 2, ..Tally::default() }, tally(&[5, 1]), &["2 requests have not come to an end"]);
    }

    #[test]
    fn a_rotation_is_even() {
        check(true, tally(&[]), tally(&[1000, 1000 + EVEN_WITHIN]), &[]);
        check(false, tally(&[]), tally(&[1000, 2000]), &[]);
        let complaint = "counts from 1000 to 1019 are not a rotation: at most 18 apart were to be expected";
        check(true, tally(&[]), tally(&[1000, 1001 + EVEN_WITHIN]), &[complaint]);
    }
}
