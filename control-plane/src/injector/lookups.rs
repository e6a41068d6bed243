//! Which namespaces the API server is asked for. Pure: time is passed in, as the time since some fixed moment.
//!
//! A pod whose namespace is not known yet is rare: the watch hears of a new namespace within milliseconds. Questions that nobody
//! but a stranger asks may name any number of namespaces, so answers are remembered a little, and few are asked for.

use std::{collections::HashMap, time::Duration};

use wasmesh_injection::Facts;

use crate::pace::Pace;

/// How many are asked for in a second, and how many at once after a while without any.
const PER_SECOND: u32 = 10;
const AT_ONCE: u32 = 50;

/// How long an answer is good. Whatever the watch says meanwhile goes first.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// How many answers are remembered.
const MAX_ANSWERS: usize = 256;

/// What is to be done to know a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The API server is to be asked.
    Ask,
    /// It has been, just now; None if there is no such namespace.
    Answered(Option<Facts>),
    /// It has been asked too often already.
    NotNow,
}

/// What has been asked, and answered.
pub(super) struct Lookups {
    pace: Pace,
    answers: HashMap<String, (Duration, Option<Facts>)>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { pace: Pace::new(PER_SECOND, AT_ONCE), answers: HashMap::new() }
    }
}

impl Lookups {
    pub(super) fn next(&mut self, name: &str, now: Duration) -> Next {
        match self.answers.get(name) {
            Some((at, answer)) if is_good(*at, now) => Next::Answered(answer.clone()),
            _ if self.pace.allows(now) => Next::Ask,
            _ => Next::NotNow,
        }
    }

    pub(super) fn note(&mut self, name: &str, answer: Option<Facts>, now: Duration) {
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.retain(|_, (at, _)| is_good(*at, now));
        }
        // More than are asked for while an answer is good there cannot be; that is nobody else's to know.
        if self.answers.len() < MAX_ANSWERS {
            self.answers.insert(name.to_owned(), (now, answer));
        }
    }
}

fn is_good(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) <= GOOD_FOR
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wasmesh_injection::{Facts, PodSecurity};

    use super::{AT_ONCE, GOOD_FOR, Lookups, MAX_ANSWERS, Next};

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_is_good_for_a_little() {
        let facts = Some(Facts { opted_in: true, pod_security: PodSecurity::Allows });
        for answer in [facts, None] {
            let mut lookups = Lookups::default();
            assert_eq!(lookups.next("shop", Duration::ZERO), Next::Ask);
            lookups.note("shop", answer.clone(), Duration::ZERO);
            assert_eq!(lookups.next("shop", GOOD_FOR), Next::Answered(answer));
            assert_eq!(lookups.next("shop", GOOD_FOR + SOON), Next::Ask);
        }
    }

    #[test]
    fn names_that_nobody_has_heard_of_are_asked_for_at_a_bounded_rate() {
        let mut lookups = Lookups::default();
        let mut asked = 0;
        for second in 0..100 {
            for n in 0..100 {
                let (name, now) = (format!("{second}-{n}"), Duration::from_secs(second));
                if lookups.next(&name, now) == Next::Ask {
                    asked += 1;
                    lookups.note(&name, None, now);
                }
            }
            assert!(lookups.answers.len() <= MAX_ANSWERS);
        }
        assert_eq!(asked, AT_ONCE + 99 * 10);
        assert_eq!(lookups.next("shop", Duration::from_secs(99)), Next::NotNow);
    }
}
