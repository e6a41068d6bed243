package policy

import "math/bits"

// Below maps 64 random bits to a number below bound, by multiplication instead of division (Lemire, 2019).
func Below(random, bound uint64) uint64 {
	high, _ := bits.Mul64(random, bound)
	return high
}

// Mix makes another random number of one: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection.
func Mix(random uint64) uint64 {
	z := random + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
