/* Sorting numbers that bring something along. */
#ifndef WASMESH_SORT_H
#define WASMESH_SORT_H

#include <stddef.h>
#include <stdint.h>

struct wm_entry {
    uint64_t key;
    uint32_t value;
};

/* Sorts by key and keeps the order of equal ones: a radix sort, byte by byte from the lowest, over those bytes only in
 * which keys differ. Says which of the two arrays the result is in. */
static inline struct wm_entry *wm_sort(struct wm_entry *entries, struct wm_entry *spare, uint32_t len) {
    uint64_t differing = 0;
    for (uint32_t i = 0; i < len; i++) {
        differing |= entries[i].key ^ entries[0].key;
    }
    for (uint32_t shift = 0; shift < 64; shift += 8) {
        if ((uint8_t)(differing >> shift) == 0) {
            continue;
        }
        uint32_t starts[257] = {0};
        for (uint32_t i = 0; i < len; i++) {
            starts[(uint8_t)(entries[i].key >> shift) + 1]++;
        }
        for (uint32_t byte = 1; byte < 256; byte++) {
            starts[byte] += starts[byte - 1];
        }
        for (uint32_t i = 0; i < len; i++) {
            spare[starts[(uint8_t)(entries[i].key >> shift)]++] = entries[i];
        }
        struct wm_entry *sorted = spare;
        spare = entries;
        entries = sorted;
    }
    return entries;
}

#endif
