//! stub
/// The built-in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BuiltinPolicy {
    /// Each in turn.
    RoundRobin,
    /// By chance.
    Random,
    /// The less loaded of two.
    #[default]
    LeastRequest,
    /// By latency.
    PeakEwma,
    /// Consistent.
    RingHash,
    /// Consistent.
    Maglev,
}
impl BuiltinPolicy {
    /// kebab-case name.
    pub fn name(self) -> &'static str {
        "x"
    }
}
