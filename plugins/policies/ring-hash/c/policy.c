/* Consistent hashing on a ring, as Ketama does it (libketama, 2007) and Envoy's `ring_hash` after it. Picks what the
 * built-in ring hash picks, and its twin in Rust. {"key": WORD} says what to hash by; by default the path.
 *
 * Each endpoint owns many points of a ring of 64-bit numbers; a key belongs to the owner of the first point at or after
 * it. An endpoint that goes takes its points along, so that only its own keys move. */
#include <wasmesh/config.h>
#include <wasmesh/hash.h>
#include <wasmesh/levels.h>

/* Points of an endpoint of mean weight. Shares then differ by about 1/sqrt(512), 4 %. */
#define POINTS_PER_MEMBER 512u

/* About the largest ring, reached with 64 endpoints; more have fewer points each. */
#define MAX_POINTS 32768u

/* A ring, with what it has lying behind it: hashes of addresses by position, points, the position that owns each, and for
 * each value of a key's upper bits how many points have lower ones, which is where to begin looking: points are spread
 * evenly, so there is about one per value. */
struct ring {
    uint32_t count;
    uint32_t shift;
    uint64_t words[];
};

static const uint64_t *points_of(const struct wm_members *members, const struct ring *ring) {
    return ring->words + members->len;
}

static const uint32_t *owners_of(const struct wm_members *members, const struct ring *ring) {
    return (const uint32_t *)(points_of(members, ring) + ring->count);
}

static const uint32_t *starts_of(const struct wm_members *members, const struct ring *ring) {
    return owners_of(members, ring) + ring->count;
}

static struct wm_levels levels;
static char key_word[256] = "path";
static wm_string key = {(uint8_t *)key_word, 4};

static uint64_t key_of(const wm_request *request) {
    /* Requests without the key are spread at random, or all of them would land on one endpoint. */
    return request->traits & WM_KEY0 ? request->key0 : request->random;
}

static uint64_t point_of(uint64_t identity, uint64_t replica) {
    uint64_t words[2] = {identity, replica};
    return wm_xxh3((const uint8_t *)words, sizeof words);
}

/* At least one: whoever has any weight at all owns something. */
static uint64_t share_of(uint64_t weight, uint64_t budget, uint64_t total) {
    uint64_t share = (budget * weight + total / 2) / total;
    return share == 0 ? 1 : share;
}

/* All positions by identity, then id: an order that does not depend on the list's. Scratch memory. */
static const struct wm_entry *in_order(const struct wm_members *members, const uint64_t *identities,
                                       const wm_endpoint *endpoints) {
    struct wm_entry *order = wm_alloc(members->len * sizeof *order), *spare = wm_alloc(members->len * sizeof *order);
    for (uint32_t i = 0; i < members->len; i++) {
        order[i] = (struct wm_entry){.key = endpoints[wm_index(members, i)].id, .value = i};
    }
    struct wm_entry *sorted = wm_sort(order, spare, members->len);
    for (uint32_t i = 0; i < members->len; i++) {
        sorted[i].key = identities[sorted[i].value];
    }
    return wm_sort(sorted, sorted == order ? spare : order, members->len);
}

/* Lays out the points, and sorts them so that of two equal ones the order of identities decides. */
static void fill(struct ring *ring, const struct wm_members *members, uint64_t budget, uint64_t total,
                 const wm_endpoint *endpoints) {
    const uint64_t *identities = ring->words;
    uint64_t *points = (uint64_t *)points_of(members, ring);
    uint32_t *owners = (uint32_t *)owners_of(members, ring), *starts = (uint32_t *)starts_of(members, ring);
    uint32_t count = ring->count;
    const struct wm_entry *order = in_order(members, identities, endpoints);
    struct wm_entry *entries = wm_alloc(count * sizeof *entries), *spare = wm_alloc(count * sizeof *entries);
    uint32_t filled = 0;
    for (uint32_t i = 0; i < members->len; i++) {
        uint32_t position = order[i].value;
        uint64_t share = share_of(members->weights[position], budget, total);
        for (uint64_t replica = 0; replica < share; replica++) {
            entries[filled++] = (struct wm_entry){.key = point_of(identities[position], replica), .value = position};
        }
    }
    entries = wm_sort(entries, spare, count);
    uint32_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        points[i] = entries[i].key;
        owners[i] = entries[i].value;
        while (value <= points[i] >> ring->shift) {
            starts[value++] = i;
        }
    }
    while (value <= UINT64_MAX >> ring->shift) {
        starts[value++] = count;
    }
}

static const void *prepare(const struct wm_members *members, const wm_endpoint *endpoints) {
    uint64_t total = 0, count = 0, budget = (uint64_t)POINTS_PER_MEMBER * members->len;
    budget = budget > MAX_POINTS ? MAX_POINTS : budget;
    for (uint32_t i = 0; i < members->len; i++) {
        total += members->weights[i];
    }
    for (uint32_t i = 0; i < members->len; i++) {
        count += share_of(members->weights[i], budget, total);
    }
    uint32_t bits = count < 4 ? 1 : 63 - (uint32_t)__builtin_clzll(count);
    size_t halves = 2 * (members->len + count) + count + ((size_t)1 << bits);
    struct ring *ring = wm_alloc(sizeof *ring + halves * sizeof(uint32_t));
    *ring = (struct ring){.count = (uint32_t)count, .shift = 64 - bits};
    for (uint32_t i = 0; i < members->len; i++) {
        const wm_string *address = &endpoints[wm_index(members, i)].address;
        ring->words[i] = wm_xxh3(address->ptr, address->len);
    }
    void *scratch = wm_alloc(0);
    fill(ring, members, budget, total, endpoints);
    wm_release(scratch);
    return ring;
}

static bool choose(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position) {
    const struct ring *ring = own;
    const uint64_t *points = points_of(members, ring);
    uint64_t wanted = key_of(request);
    uint32_t at = starts_of(members, ring)[wanted >> ring->shift];
    while (at < ring->count && points[at] < wanted) {
        at++;
    }
    /* Behind the last point the ring begins anew. */
    *position = owners_of(members, ring)[at == ring->count ? 0 : at];
    return wm_is_usable(members, *position, request);
}

/* The usable one with the highest hash of key and identity together: rendezvous hashing (Thaler and Ravishankar, "Using
 * Name-Based Mappings to Increase Hit Rates", 1998). So a key keeps its stand-in too. */
static bool stand_in(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position) {
    const uint64_t *identities = ((const struct ring *)own)->words;
    uint64_t highest = 0;
    bool found = false;
    for (uint32_t i = 0; i < members->len; i++) {
        uint64_t rank = wm_mix(key_of(request) ^ identities[i]);
        if ((!found || rank >= highest) && wm_is_usable(members, i, request)) {
            highest = rank;
            *position = i;
            found = true;
        }
    }
    return found;
}

static const struct wm_chooser ring_hash = {.prepare = prepare, .choose = choose, .stand_in = stand_in};

bool wm_init(wm_string *config, wm_labels *about, wm_plan *plan, wm_string *error) {
    (void)about;
    wm_string word = {NULL, 0};
    if (!wm_config(config, "key", &word) || word.len > sizeof key_word) {
        *error = (wm_string)WM_STRING("config: ring-hash takes {\"key\": WORD} and nothing else; WORD has at most 256 bytes");
        return false;
    }
    if (word.ptr != NULL) {
        memcpy(key_word, word.ptr, word.len);
        key.len = word.len;
    }
    *plan = (wm_plan){.keys = {&key, 1}, .reasons = {(wm_string *)wm_reasons, 3}};
    wm_forget();
    return true;
}

bool wm_update(uint64_t generation, uint64_t now_ms, wm_endpoints *endpoints, wm_string *error) {
    (void)generation, (void)now_ms, (void)error;
    wm_levels_update(&levels, &ring_hash, endpoints);
    return true;
}

void wm_pick(wm_request *request, wm_decision *decision) {
    *decision = wm_levels_pick(&levels, &ring_hash, request);
}
