//! The live load of one endpoint: what balances, never what is exported.
//!
//! One value per endpoint is shared by all workers and survives every swap of lists while the endpoint lives. It is
//! lock-free and has no clock: times are microseconds of any monotonic clock, the same one for all callers.
//!
//! When is a request complete? In-flight counts it until the end of its body; latency ends at the response headers,
//! so that a long download does not look like a slow endpoint.

mod reports;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use self::reports::Reports;
use crate::ejection::Health;

pub use self::reports::{REPORT_SLOTS, STALE_US};

/// Time constant of the latency average: after this long without samples it has fallen to 1/e. Finagle's default.
pub const DECAY_US: u64 = 10_000_000;

/// Load of one endpoint. All numbers are statistics that stand alone, so their updates need no ordering.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    in_flight: AtomicU32,
    /// An [`Average`] in one word, so that a reader never pairs the average of one update with the time of another.
    latency: AtomicU64,
    withdrawn: AtomicBool,
    /// Whether it has ever been a candidate.
    known: AtomicBool,
    /// Since when it has been a candidate; 0 if it was there before anybody looked.
    ready_us: AtomicU64,
    health: Health,
    reports: Reports,
    total: Option<Arc<TotalLoad>>,
}

/// Requests under way to all endpoints of a Service port together, so that nobody has to add them up for each request.
#[derive(Debug, Default)]
pub struct TotalLoad(AtomicU32);

impl TotalLoad {
    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EndpointLoad {
    /// The load of an endpoint that counts towards a total.
    pub fn counting_towards(total: &Arc<TotalLoad>) -> Self {
        Self { total: Some(Arc::clone(total)), ..Self::default() }
    }

    /// Counts a request that was sent to the endpoint. Each needs one [`EndpointLoad::end`].
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(TotalLoad(total)) = self.total.as_deref() {
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends a request. One end too many is ignored: an endpoint that looked loaded for ever would get no more traffic.
    pub fn end(&self) {
        let one_less = |count: u32| count.checked_sub(1);
        if self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && let Some(TotalLoad(total)) = self.total.as_deref()
        {
            total.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes the time to the response headers of one request into the average.
    ///
    /// This is the peak EWMA of Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`), also in Linkerd (tower's
    /// `load::PeakEwma`): a sample above the average replaces it at once, one below pulls it down gradually. So trouble
    /// is noticed with the first slow answer and believed to be over only after some good ones.
    pub fn observe(&self, latency_us: u64, now_us: u64) {
        let _ = self.latency.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            Some(Average::from_word(word).with_sample(latency_us, now_us).into_word())
        });
    }

    /// The average latency in microseconds as of `now_us`; 0 if there is no sample, or none within living memory.
    ///
    /// It falls while no samples come, so that an endpoint that was slow once is tried again.
    pub fn latency_us(&self, now_us: u64) -> f64 {
        Average::from_word(self.latency.load(Ordering::Relaxed)).decayed(now_us)
    }

    /// How it has been doing.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Marks the endpoint as gone: it is no candidate any more, though lists that name it may still be in use.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// The endpoint is a candidate, unless it was one already since then; 0 for one that was there before anybody looked.
    pub fn restore(&self, since_us: u64) {
        let was_withdrawn = self.withdrawn.swap(false, Ordering::AcqRel);
        if !self.known.swap(true, Ordering::Relaxed) || was_withdrawn {
            self.ready_us.store(since_us, Ordering::Relaxed);
        }
    }

    /// Since when it has been a candidate; 0 if it was there before anybody looked.
    pub fn ready_us(&self) -> u64 {
        self.ready_us.load(Ordering::Relaxed)
    }

    /// Takes note of what the endpoint said of itself, in thousandths. Slots from [`REPORT_SLOTS`] on are ignored; which one
    /// stands for what is the caller's business.
    pub fn report(&self, slot: usize, thousandths: u32, now_us: u64) {
        self.reports.set(slot, thousandths, now_us);
    }

    /// What the endpoint said of itself within the last [`STALE_US`], in thousandths.
    pub fn reported(&self, slot: usize, now_us: u64) -> Option<u32> {
        self.reports.get(slot, now_us)
    }

    /// Whether the endpoint is gone.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}

/// A peak EWMA and the time of its last sample. The word 0 is an average without samples.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Average {
    value_us: f32,
    /// Units of 2^[`TICK_SHIFT`] microseconds, wrapping.
    tick: u32,
}

/// A tick is 1.024 ms: fine against a time constant of seconds, and the counter wraps only after 50 days.
const TICK_SHIFT: u32 = 10;

impl Average {
    fn from_word(word: u64) -> Self {
        Self { value_us: f32::from_bits((word >> 32) as u32), tick: word as u32 }
    }

    fn into_word(self) -> u64 {
        u64::from(self.value_us.to_bits()) << 32 | u64::from(self.tick)
    }

    fn with_sample(self, latency_us: u64, now_us: u64) -> Self {
        // At least one microsecond, because zero means that there is no sample.
        let sample = latency_us.max(1) as f32;
        let now = tick_of(now_us);
        if sample >= self.value_us {
            return Self { value_us: sample, tick: now };
        }
        let elapsed = self.elapsed_ticks(now_us);
        let kept = kept_after(elapsed);
        let value_us = (f64::from(self.value_us) * kept + f64::from(sample) * (1.0 - kept)) as f32;
        // A caller whose clock reading is older than the last update must not turn time back.
        Self { value_us, tick: if elapsed == 0 { self.tick } else { now } }
    }

    fn decayed(self, now_us: u64) -> f64 {
        f64::from(self.value_us) * kept_after(self.elapsed_ticks(now_us))
    }

    /// Ticks since the last sample; 0 if that lies ahead of `now_us`.
    fn elapsed_ticks(self, now_us: u64) -> u32 {
        let elapsed = tick_of(now_us).wrapping_sub(self.tick);
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }
}

fn tick_of(now_us: u64) -> u32 {
    (now_us >> TICK_SHIFT) as u32
}

/// The share of an average that is left after some ticks.
fn kept_after(ticks: u32) -> f64 {
    let elapsed_us = u64::from(ticks) << TICK_SHIFT;
    (-(elapsed_us as f64) / DECAY_US as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= expected * 0.01 + 0.01, "{actual} is not near {expected}");
    }

    #[test]
    fn in_flight_never_underflows() {
        let load = EndpointLoad::default();
        load.end();
        load.begin();
        load.begin();
        load.end();
        assert_eq!(load.in_flight(), 1);
        load.end();
        load.end();
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_slower_sample_replaces_the_average_at_once() {
        let load = EndpointLoad::default();
        load.observe(1_000, SECOND);
        load.observe(50_000, SECOND);
        assert_near(load.latency_us(SECOND), 50_000.0);
    }

    #[test]
    fn a_faster_sample_pulls_the_average_down_with_the_time_constant() {
        let load = EndpointLoad::default();
        load.observe(100_000, SECOND);
        load.observe(1_000, SECOND + DECAY_US);
        let kept = (-1.0_f64).exp();
        assert_near(load.latency_us(SECOND + DECAY_US), 100_000.0 * kept + 1_000.0 * (1.0 - kept));
    }

    #[test]
    fn the_average_fades_without_samples() {
        let load = EndpointLoad::default();
        assert_eq!(load.latency_us(5 * SECOND), 0.0);
        load.observe(100_000, SECOND);
        assert_near(load.latency_us(SECOND + DECAY_US), 100_000.0 / std::f64::consts::E);
        assert_near(load.latency_us(SECOND + 100 * DECAY_US), 0.0);
    }

    #[test]
    fn a_clock_reading_from_the_past_changes_nothing_but_the_peak() {
        let load = EndpointLoad::default();
        load.observe(100_000, 60 * SECOND);
        load.observe(1_000, 50 * SECOND);
        assert_near(load.latency_us(50 * SECOND), 100_000.0);
        assert_near(load.latency_us(60 * SECOND), 100_000.0);
    }

    #[test]
    fn the_average_survives_the_wrap_of_the_coarse_clock() {
        let wrap = 1_u64 << (32 + TICK_SHIFT);
        let load = EndpointLoad::default();
        load.observe(100_000, wrap - SECOND);
        assert_near(load.latency_us(wrap - SECOND + DECAY_US), 100_000.0 / std::f64::consts::E);
    }

    #[test]
    fn an_instant_answer_still_counts_as_a_sample() {
        let load = EndpointLoad::default();
        load.observe(0, 0);
        assert!(load.latency_us(0) > 0.0);
        load.observe(u64::MAX, 0);
        assert!(load.latency_us(0).is_finite());
    }

    #[test]
    fn withdrawal_is_taken_back() {
        let load = EndpointLoad::default();
        assert!(!load.is_withdrawn());
        load.withdraw();
        assert!(load.is_withdrawn());
        load.restore(7);
        assert!(!load.is_withdrawn());
    }

    #[test]
    fn an_endpoint_is_new_again_only_after_it_was_gone() {
        let load = EndpointLoad::default();
        load.restore(5);
        load.restore(9);
        assert_eq!(load.ready_us(), 5);
        load.withdraw();
        load.restore(12);
        assert_eq!(load.ready_us(), 12);
        let old = EndpointLoad::default();
        old.restore(0);
        old.restore(9);
        assert_eq!(old.ready_us(), 0, "it was there from the beginning");
    }

    #[test]
    fn totals_are_the_sum_of_what_counts_towards_them() {
        let total = Arc::new(TotalLoad::default());
        let [a, b] = [(); 2].map(|()| EndpointLoad::counting_towards(&total));
        a.begin();
        b.begin();
        b.begin();
        assert_eq!(total.in_flight(), 3);
        a.end();
        a.end();
        assert_eq!(total.in_flight(), 2, "one end too many takes nothing from the other");
    }

    #[test]
    fn updates_from_many_threads_lose_no_request_and_tear_no_average() {
        let load = EndpointLoad::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let load = &load;
                scope.spawn(move || {
                    for round in 0..5_000_u64 {
                        load.begin();
                        load.observe(1_000 + thread * 1_000, round << TICK_SHIFT);
                        let seen = load.latency_us(round << TICK_SHIFT);
                        assert!(seen <= 4_000.0, "{seen} was never observed");
                        load.end();
                    }
                });
            }
        });
        assert_eq!(load.in_flight(), 0);
        let average = load.latency_us(5_000 << TICK_SHIFT);
        assert!((1_000.0..=4_000.0).contains(&average), "{average}");
    }
}
