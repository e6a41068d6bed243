/* The endpoints of one priority, numbered by position; an index is a place in the whole list. */
#ifndef WASMESH_MEMBERS_H
#define WASMESH_MEMBERS_H

#include <wasmesh/policy.h>

struct wm_members {
    uint32_t len;
    /* Whether weights differ. */
    bool uneven;
    /* By position; NULL if they are the whole list, so that one priority costs no translation. */
    const uint32_t *indexes;
    /* By position, at least 1. */
    const uint32_t *weights;
};

static inline uint32_t wm_index(const struct wm_members *members, uint32_t position) {
    return members->indexes == NULL ? position : members->indexes[position];
}

/* Whether this request may go there if need be: not where it has just failed. */
static inline bool wm_is_possible(const struct wm_members *members, uint32_t position, const wm_request *request) {
    return !request->avoid.is_some || request->avoid.val != wm_index(members, position);
}

/* Whether this request should go there: not ejected, full or gone either. */
static inline bool wm_is_usable(const struct wm_members *members, uint32_t position, const wm_request *request) {
    return wm_is_possible(members, position, request) && wm_available(wm_index(members, position));
}

/* Whether more than half are not available. Then the trouble is likely elsewhere, and sending everything to the few that
 * are left would only bring these down too. */
static inline bool wm_is_panicking(const struct wm_members *members) {
    uint32_t ejected = 0;
    for (uint32_t position = 0; position < members->len; position++) {
        ejected += !wm_available(wm_index(members, position));
    }
    return ejected > members->len / 2;
}

/* The first from `start` on, round the list, that is usable or, with `any`, possible. */
static inline bool wm_find_from(const struct wm_members *members, uint32_t start, const wm_request *request, bool any,
                                uint32_t *position) {
    for (uint32_t step = 0; step < members->len; step++) {
        uint32_t at = step < members->len - start ? start + step : step - (members->len - start);
        if (any ? wm_is_possible(members, at, request) : wm_is_usable(members, at, request)) {
            *position = at;
            return true;
        }
    }
    return false;
}

#endif
