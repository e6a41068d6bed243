/* Priorities, and somebody else when the chosen endpoint cannot take the request: what most policies share. A policy
 * brings a chooser over the endpoints of one priority; the rest follows the rules of the built-in policies. */
#ifndef WASMESH_LEVELS_H
#define WASMESH_LEVELS_H

#include <wasmesh/members.h>
#include <wasmesh/random.h>
#include <wasmesh/sort.h>

/* Why an endpoint was chosen: indexes into wm_reasons. */
enum wm_reason { WM_CHOSEN, WM_STAND_IN, WM_LAST_RESORT };

static const wm_string wm_reasons[] = {WM_STRING("chosen"), WM_STRING("stand-in"), WM_STRING("last-resort")};

/* How to choose among the endpoints of one priority, which are never none. */
struct wm_chooser {
    /* What it needs to know about them, in one block that has no pointers; scratch memory must be released. */
    const void *(*prepare)(const struct wm_members *members, const wm_endpoint *endpoints);
    /* The position of who is chosen. False if that one is not usable. */
    bool (*choose)(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position);
    /* A usable one in place of one that is not; NULL for the next one from a random place on. */
    bool (*stand_in)(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position);
};

struct wm_level {
    struct wm_members members;
    const void *own;
};

/* By ascending priority. */
struct wm_levels {
    uint32_t count;
    struct wm_level *level;
};

static inline uint32_t wm_random_position(const struct wm_members *members, const wm_request *request) {
    return (uint32_t)wm_below(wm_mix(request->random), members->len);
}

/* The members that these entries name by index, in this order. */
static inline struct wm_members wm_members_of(const struct wm_entry *entries, uint32_t len, const wm_endpoint *endpoints,
                                              bool is_all) {
    uint32_t *indexes = is_all ? NULL : wm_alloc(len * sizeof *indexes);
    uint32_t *weights = wm_alloc(len * sizeof *weights);
    struct wm_members members = {.len = len, .indexes = indexes, .weights = weights};
    for (uint32_t position = 0; position < len; position++) {
        uint32_t weight = endpoints[entries[position].value].weight;
        weights[position] = weight == 0 ? 1 : weight;
        members.uneven |= weights[position] != weights[0];
        if (!is_all) {
            indexes[position] = entries[position].value;
        }
    }
    return members;
}

/* The end of those that have the priority of the first. */
static inline uint32_t wm_run_end(const struct wm_entry *entries, uint32_t start, uint32_t len) {
    uint32_t end = start + 1;
    while (end < len && entries[end].key == entries[start].key) {
        end++;
    }
    return end;
}

static inline void *wm_moved(const void *pointer, ptrdiff_t by) {
    return pointer == NULL ? NULL : (uint8_t *)pointer + by;
}

/* Takes a new list. The last thing that an update does: all that it was given is gone afterwards. */
static inline void wm_levels_update(struct wm_levels *levels, const struct wm_chooser *chooser, const wm_endpoints *list) {
    uint32_t len = (uint32_t)list->len;
    struct wm_entry *entries = wm_alloc(len * sizeof *entries), *spare = wm_alloc(len * sizeof *spare);
    for (uint32_t index = 0; index < len; index++) {
        entries[index] = (struct wm_entry){.key = list->ptr[index].priority, .value = index};
    }
    entries = wm_sort(entries, spare, len);
    uint32_t count = 0;
    for (uint32_t start = 0; start < len; start = wm_run_end(entries, start, len)) {
        count++;
    }
    struct wm_level *level = wm_alloc(count * sizeof *level);
    for (uint32_t start = 0, end, i = 0; start < len; start = end, i++) {
        end = wm_run_end(entries, start, len);
        level[i].members = wm_members_of(entries + start, end - start, list->ptr, count == 1);
        level[i].own = chooser->prepare(&level[i].members, list->ptr);
    }
    struct wm_level *kept = wm_keep(level, (size_t)((uint8_t *)wm_alloc(0) - (uint8_t *)level));
    ptrdiff_t by = (uint8_t *)kept - (uint8_t *)level;
    for (uint32_t i = 0; i < count; i++) {
        kept[i].members.indexes = wm_moved(kept[i].members.indexes, by);
        kept[i].members.weights = wm_moved(kept[i].members.weights, by);
        kept[i].own = wm_moved(kept[i].own, by);
    }
    *levels = (struct wm_levels){.count = count, .level = kept};
}

static inline bool wm_level_pick(const struct wm_level *level, const struct wm_chooser *chooser, const wm_request *request,
                                 wm_decision *decision) {
    const struct wm_members *members = &level->members;
    uint32_t position, reason = WM_CHOSEN;
    bool is_usable = chooser->choose(members, level->own, request, &position);
    if (!is_usable && !(wm_is_possible(members, position, request) && wm_is_panicking(members))) {
        reason = WM_STAND_IN;
        bool found = chooser->stand_in == NULL
            ? wm_find_from(members, wm_random_position(members, request), request, false, &position)
            : chooser->stand_in(members, level->own, request, &position);
        if (!found) {
            return false;
        }
    }
    *decision = wm_endpoint_at(wm_index(members, position), reason);
    return true;
}

/* Who takes the request; the built-in policy if there is nobody but the one to avoid. */
static inline wm_decision wm_levels_pick(const struct wm_levels *levels, const struct wm_chooser *chooser,
                                         const wm_request *request) {
    wm_decision decision;
    uint32_t position;
    for (uint32_t i = 0; i < levels->count; i++) {
        /* A priority that nobody is left of is passed over unpicked: it must not use up turns. */
        bool is_left = levels->count == 1 || wm_find_from(&levels->level[i].members, 0, request, false, &position);
        if (is_left && wm_level_pick(&levels->level[i], chooser, request, &decision)) {
            return decision;
        }
    }
    for (uint32_t i = 0; i < levels->count; i++) {
        const struct wm_members *members = &levels->level[i].members;
        if (wm_find_from(members, wm_random_position(members, request), request, true, &position)) {
            return wm_endpoint_at(wm_index(members, position), WM_LAST_RESORT);
        }
    }
    return wm_fallback();
}

#endif
