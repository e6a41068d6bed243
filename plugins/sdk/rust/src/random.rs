//! Numbers made from the one random number that a request brings.

/// Maps 64 random bits to a number below `bound`, by multiplication instead of division (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019). The bias is below bound / 2^64. 0 if `bound` is 0.
pub fn below(random: u64, bound: u64) -> u64 {
    if bound > u64::from(u32::MAX) {
        return ((u128::from(random) * u128::from(bound)) >> 64) as u64;
    }
    // The same without 128 bits, which WebAssembly has not: the upper half of the product of halves.
    let (high, low) = (random >> 32, random & u64::from(u32::MAX));
    (high * bound + ((low * bound) >> 32)) >> 32
}

/// Another random number from one: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection.
pub fn mix(random: u64) -> u64 {
    let mut z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{below, mix};

    #[test]
    fn both_ways_to_multiply_agree() {
        let bounds = [0, 1, 2, 3, 100, 65_537, u64::from(u32::MAX), 1 << 32, (1 << 40) + 7, u64::MAX];
        for random in (0..1_000).map(mix).chain([0, u64::MAX]) {
            for bound in bounds {
                let exact = ((u128::from(random) * u128::from(bound)) >> 64) as u64;
                assert_eq!(below(random, bound), exact, "{random} {bound}");
            }
        }
    }
}
