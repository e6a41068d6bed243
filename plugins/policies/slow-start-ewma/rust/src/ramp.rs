//! How often a new endpoint takes part.

/// All of the time.
const ALL: f64 = 65_536.0;

/// From a little to all over a while, as in Envoy's slow start.
pub(crate) struct Ramp {
    window_ms: u32,
    /// Of the part of the window that has passed.
    exponent: f64,
    least: f64,
}

impl Ramp {
    /// A window, an aggression in percent, at least 1, and what it begins with in percent.
    pub(crate) fn new(window_ms: u32, aggression: u32, least: u32) -> Self {
        Self { window_ms, exponent: 100.0 / f64::from(aggression), least: f64::from(least) / 100.0 }
    }

    /// Whether an endpoint of this age takes part this time; one without an age was there before anybody looked.
    pub(crate) fn admits(&self, age_ms: Option<u64>, random: u64) -> bool {
        age_ms.is_none_or(|age_ms| {
            age_ms >= u64::from(self.window_ms) || ((random >> 48) as f64) < self.part(age_ms as f64) * ALL
        })
    }

    fn part(&self, age_ms: f64) -> f64 {
        let passed = age_ms / f64::from(self.window_ms);
        // The usual line needs no power.
        let risen = if self.exponent == 1.0 { passed } else { passed.powf(self.exponent) };
        risen.max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::Ramp;
    use wasmesh_policy::random::mix;

    /// How many of a hundred times it takes part.
    fn percent(ramp: &Ramp, age_ms: Option<u64>) -> usize {
        ((0..100_000).filter(|number| ramp.admits(age_ms, mix(*number))).count() + 500) / 1000
    }

    #[test]
    fn it_rises_from_the_least_to_all() {
        let line = Ramp::new(10_000, 100, 10);
        for (age_ms, expected) in [(0, 10), (500, 10), (2_500, 25), (7_500, 75), (10_000, 100), (u64::MAX, 100)] {
            assert_eq!(percent(&line, Some(age_ms)), expected, "{age_ms}");
        }
        assert_eq!(percent(&line, None), 100);
        assert_eq!(percent(&Ramp::new(10_000, 200, 10), Some(2_500)), 50, "faster at first");
        assert_eq!(percent(&Ramp::new(10_000, 50, 1), Some(5_000)), 25, "slower at first");
        assert_eq!(percent(&Ramp::new(0, 100, 10), Some(0)), 100, "no window");
    }
}
