/* Numbers made from the one random number that a request brings. */
#ifndef WASMESH_RANDOM_H
#define WASMESH_RANDOM_H

#include <stdint.h>

/* The upper 64 bits of a product. */
static inline uint64_t wm_multiply_high(uint64_t a, uint64_t b) {
    uint64_t a_high = a >> 32, a_low = (uint32_t)a, b_high = b >> 32, b_low = (uint32_t)b;
    uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
    uint64_t carry = (uint32_t)middle + a_low * b_high;
    return a_high * b_high + (middle >> 32) + (carry >> 32);
}

/* Maps 64 random bits to a number below `bound`, by multiplication instead of division (Lemire, 2019). */
static inline uint64_t wm_below(uint64_t random, uint64_t bound) {
    if (bound > UINT32_MAX) {
        return wm_multiply_high(random, bound);
    }
    return ((random >> 32) * bound + (((uint32_t)random * bound) >> 32)) >> 32;
}

/* Another random number from one: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection. */
static inline uint64_t wm_mix(uint64_t random) {
    uint64_t z = random + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
