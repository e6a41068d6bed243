//! Who may lead, by what the Lease says and by how long it has said so. Pure; time is passed in, since some fixed moment.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// How long a Lease that is not renewed is still somebody's.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew its Lease may still believe in itself. Less than [`DURATION`]: it must stop before
/// another one begins.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is looked at.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// A replica as a candidate.
#[derive(Debug)]
pub struct Election {
    me: String,
    /// The Lease as it was last seen, and since when it has been like that.
    seen: Option<(LeaseSpec, Duration)>,
    /// When this replica last got or renewed the Lease.
    renewed: Option<Duration>,
}

/// What to do about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody else has it.
    Wait,
    /// It is this replica's: renew it.
    Renew,
    /// It is nobody's: take it.
    Take,
}

impl Election {
    /// A candidate of this name, which no other replica has.
    pub fn new(me: String) -> Self {
        Self { me, seen: None, renewed: None }
    }

    /// What to do now that the Lease is this, or is not there.
    pub fn step(&mut self, lease: Option<&LeaseSpec>, now: Duration) -> Step {
        let Some(lease) = lease else {
            self.seen = None;
            return Step::Take;
        };
        let since = match &self.seen {
            Some((seen, since)) if seen == lease => *since,
            _ => now,
        };
        self.seen = Some((lease.clone(), since));
        match lease.holder_identity.as_deref().filter(|holder| !holder.is_empty()) {
            None => Step::Take,
            Some(holder) if holder == self.me => Step::Renew,
            Some(_) if now.saturating_sub(since) >= lasts(lease) => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    /// The Lease has been got or renewed; the write was begun at this time.
    pub fn won(&mut self, begun: Duration) {
        self.renewed = Some(begun);
    }

    /// Somebody else has the Lease.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether this replica leads.
    pub fn is_leader(&self, now: Duration) -> bool {
        self.time_left(now).is_some()
    }

    /// How long it goes on leading without renewing; `None` if it does not lead.
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        let left = RENEW_DEADLINE.checked_sub(now.saturating_sub(self.renewed?))?;
        Some(left).filter(|left| !left.is_zero())
    }
}

/// For how long its holder wants a Lease to last.
fn lasts(lease: &LeaseSpec) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Duration = Duration::from_secs;

    fn lease(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn what_nobody_has_is_taken() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.step(None, T(0)), Step::Take);
        assert_eq!(election.step(Some(&lease("", 0)), T(0)), Step::Take);
        assert_eq!(election.step(Some(&LeaseSpec::default()), T(0)), Step::Take);
    }

    #[test]
    fn a_lease_that_stays_the_same_for_its_whole_time_is_free() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.step(Some(&lease("b", 0)), T(100)), Step::Wait);
        assert_eq!(election.step(Some(&lease("b", 0)), T(114)), Step::Wait);
        assert_eq!(election.step(Some(&lease("b", 1)), T(114)), Step::Wait, "renewed");
        assert_eq!(election.step(Some(&lease("b", 1)), T(128)), Step::Wait);
        assert_eq!(election.step(Some(&lease("b", 1)), T(129)), Step::Take);
    }

    #[test]
    fn a_replica_that_comes_back_under_its_name_goes_on() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.step(Some(&lease("a", 3)), T(0)), Step::Renew);
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_one_begins() {
        let mut election = Election::new("a".to_owned());
        assert!(!election.is_leader(T(0)));
        election.won(T(5));
        assert!(election.is_leader(T(14)));
        assert!(!election.is_leader(T(15)));
        election.won(T(20));
        election.lost();
        assert!(!election.is_leader(T(20)));
        assert!(RENEW_DEADLINE + INTERVAL < DURATION);
    }
}
