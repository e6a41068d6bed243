// Numbers made from the one random number that a request brings.

/** Maps 64 random bits to a number below `bound`, by multiplication instead of division (Lemire, 2019). */
export function below(random: u64, bound: u64): u64 {
  const aHigh = random >> 32, aLow = random & 0xffffffff, bHigh = bound >> 32, bLow = bound & 0xffffffff;
  const middle = aHigh * bLow + ((aLow * bLow) >> 32);
  const carry = (middle & 0xffffffff) + aLow * bHigh;
  return aHigh * bHigh + (middle >> 32) + (carry >> 32);
}

/** Another random number from one: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection. */
export function mix(random: u64): u64 {
  let z = random + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
