//! Says the same thing at most once a minute.

use std::collections::HashMap;

const PERIOD_US: u64 = 60_000_000;

/// How many different things are remembered; past that all of them are forgotten.
const CAPACITY: usize = 256;

/// Remembers what was said when.
#[derive(Default)]
pub struct Throttle {
    said_us: HashMap<String, u64>,
}

impl Throttle {
    /// Whether `text` has not been said for a minute. If so, it counts as said now.
    pub fn is_due(&mut self, text: &str, now_us: u64) -> bool {
        if self.said_us.get(text).is_some_and(|said| now_us.saturating_sub(*said) < PERIOD_US) {
            return false;
        }
        if self.said_us.len() >= CAPACITY {
            self.said_us.clear();
        }
        self.said_us.insert(text.to_owned(), now_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_memory_is_bounded() {
        let mut throttle = Throttle::default();
        assert!(throttle.is_due("a", 0) && throttle.is_due("b", 0));
        assert!(!throttle.is_due("a", PERIOD_US - 1));
        assert!(throttle.is_due("a", PERIOD_US));
        (0..10_000).for_each(|n| assert!(throttle.is_due(&n.to_string(), 0)));
        assert!(throttle.said_us.len() <= CAPACITY);
    }
}
