/* The hash of the mesh, for what the host does not hash: names and addresses of endpoints. */
#ifndef WASMESH_HASH_H
#define WASMESH_HASH_H

#include <stdlib.h>
#include <string.h>
#include <wasmesh/random.h>

/* XXH3's default secret, as far as inputs of up to 128 bytes need it: little-endian words. */
static const uint64_t wm_secret[16] = {
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072, 0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82,
    0x8e2443f7744608b8, 0x4c263a81e69035e0, 0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938,
    0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8,
};

#define WM_PRIME_1 0x9e3779b185ebca87u
#define WM_PRIME_2 0xc2b2ae3d27d4eb4fu
#define WM_PRIME_3 0x165667b19e3779f9u

static inline uint64_t wm_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t wm_half_word(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t wm_fold(uint64_t a, uint64_t b) {
    return (a * b) ^ wm_multiply_high(a, b);
}

static inline uint64_t wm_rotate(uint64_t word, int by) {
    return word << by | word >> (64 - by);
}

static inline uint64_t wm_finish(uint64_t hash) {
    hash = (hash ^ (hash >> 37)) * 0x165667919e3779f9u;
    return hash ^ (hash >> 32);
}

static inline uint64_t wm_finish_short(uint64_t hash) {
    hash = (hash ^ (hash >> 33)) * WM_PRIME_2;
    hash = (hash ^ (hash >> 29)) * WM_PRIME_3;
    return hash ^ (hash >> 32);
}

/* Of the 16 bytes there, with a pair of words of the secret. */
static inline uint64_t wm_hash_pair(const uint8_t *at, const uint64_t *secret) {
    return wm_fold(wm_word(at) ^ secret[0], wm_word(at + 8) ^ secret[1]);
}

static inline uint64_t wm_xxh3_to_8(const uint8_t *bytes, size_t len) {
    if (len == 0) {
        return wm_finish_short(wm_secret[7] ^ wm_secret[8]);
    }
    if (len < 4) {
        uint32_t all = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[len / 2] << 24 | bytes[len - 1] | (uint32_t)len << 8;
        return wm_finish_short(all ^ (uint32_t)wm_secret[0] ^ (uint32_t)(wm_secret[0] >> 32));
    }
    uint64_t hash = wm_half_word(bytes + len - 4) + ((uint64_t)wm_half_word(bytes) << 32);
    hash ^= wm_secret[1] ^ wm_secret[2];
    hash ^= wm_rotate(hash, 49) ^ wm_rotate(hash, 24);
    hash *= 0x9fb21c651e98df25u;
    hash = (hash ^ ((hash >> 35) + len)) * 0x9fb21c651e98df25u;
    return hash ^ (hash >> 28);
}

static inline uint64_t wm_xxh3_9_to_16(const uint8_t *bytes, size_t len) {
    uint64_t low = wm_word(bytes) ^ wm_secret[3] ^ wm_secret[4];
    uint64_t high = wm_word(bytes + len - 8) ^ wm_secret[5] ^ wm_secret[6];
    return wm_finish(len + __builtin_bswap64(low) + high + wm_fold(low, high));
}

/* Pairs from both ends towards the middle. */
static inline uint64_t wm_xxh3_17_to_128(const uint8_t *bytes, size_t len) {
    uint64_t hash = len * WM_PRIME_1;
    for (size_t i = 0; i <= (len - 1) / 32; i++) {
        hash += wm_hash_pair(bytes + 16 * i, wm_secret + 4 * i);
        hash += wm_hash_pair(bytes + len - 16 * (i + 1), wm_secret + 4 * i + 2);
    }
    return wm_finish(hash);
}

/* XXH3-64 with seed 0 of at most 128 bytes; traps for more, which no name or address has. */
static inline uint64_t wm_xxh3(const uint8_t *bytes, size_t len) {
    if (len > 128) {
        abort();
    }
    if (len > 16) {
        return wm_xxh3_17_to_128(bytes, len);
    }
    return len > 8 ? wm_xxh3_9_to_16(bytes, len) : wm_xxh3_to_8(bytes, len);
}

#endif
