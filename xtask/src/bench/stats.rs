//! Few numbers, taken seriously: medians, ranges, and ratios of what was measured in the same round.

/// Of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` without samples.
    pub(super) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut samples: Vec<_> = samples.into_iter().collect();
        samples.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*samples.first()?, *samples.last()?);
        let (low, high) = ((samples.len() - 1) / 2, samples.len() / 2);
        Some(Self { median: f64::midpoint(samples[low], samples[high]), min, max })
    }

    /// Of a function of two samples of the same round; rounds in which one is missing do not count.
    pub(super) fn of_pairs(
        ours: &[(usize, f64)],
        theirs: &[(usize, f64)],
        combine: impl Fn(f64, f64) -> f64,
    ) -> Option<Self> {
        let pair = |(round, value): &(usize, f64)| {
            let (_, other) = theirs.iter().find(|(other, _)| other == round)?;
            Some(combine(*value, *other))
        };
        Self::of(ours.iter().filter_map(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn only_what_was_measured_in_the_same_round_is_compared() {
        let (ours, theirs) = ([(0, 2.0), (1, 6.0), (2, 5.0)], [(1, 2.0), (0, 4.0)]);
        let ratio = |a: f64, b: f64| a / b;
        assert_eq!(Spread::of_pairs(&ours, &theirs, ratio), Some(Spread { median: 1.75, min: 0.5, max: 3.0 }));
        assert_eq!(Spread::of_pairs(&ours, &[], ratio), None);
    }
}
