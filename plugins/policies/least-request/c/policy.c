/* Of two endpoints drawn by chance, the one with fewer requests under way (Mitzenmacher, "The Power of Two Choices in
 * Randomized Load Balancing", 2001). Picks what the built-in least-request picks, and its twin in Rust. */
#include <wasmesh/config.h>
#include <wasmesh/levels.h>

static struct wm_levels levels;

/* Running sums of the weights; nothing if all are the same. */
static const void *prepare(const struct wm_members *members, const wm_endpoint *endpoints) {
    (void)endpoints;
    uint64_t *sums = wm_alloc(members->uneven ? members->len * sizeof *sums : 0), sum = 0;
    for (uint32_t i = 0; members->uneven && i < members->len; i++) {
        sums[i] = sum += members->weights[i];
    }
    return sums;
}

/* Within whose share of the line the point lies. */
static uint32_t owner_of(uint64_t point, const uint64_t *sums, uint32_t len) {
    uint32_t low = 0;
    while (len > 0) {
        uint32_t half = len / 2;
        bool is_below = sums[low + half] <= point;
        low = is_below ? low + half + 1 : low;
        len = is_below ? len - half - 1 : half;
    }
    return low;
}

/* Two positions, distinct if there are two; the second is drawn as if the first were not there. */
static void draw_pair(const struct wm_members *members, const uint64_t *sums, uint64_t random, uint32_t *first,
                      uint32_t *second) {
    uint32_t len = members->len;
    *first = *second = 0;
    if (len < 2) {
        return;
    }
    if (!members->uneven) {
        *first = (uint32_t)wm_below(random, len);
        *second = (uint32_t)wm_below(wm_mix(random), len - 1);
        *second += *second >= *first;
        return;
    }
    uint64_t total = sums[len - 1];
    *first = owner_of(wm_below(random, total), sums, len);
    uint64_t start = *first == 0 ? 0 : sums[*first - 1], width = sums[*first] - start;
    uint64_t point = wm_below(wm_mix(random), total - width);
    *second = owner_of(point < start ? point : point + width, sums, len);
}

/* Whether the challenger, once it has taken the request, carries no more per weight than the first does now: the draw
 * follows the weights already, and comparing both with the request would count them twice. */
static bool is_better(const struct wm_members *members, uint32_t challenger, uint32_t first) {
    uint64_t now = wm_in_flight(wm_index(members, first));
    if (now == 0) {
        return false;
    }
    uint64_t after = (uint64_t)wm_in_flight(wm_index(members, challenger)) + 1;
    return after * members->weights[first] <= now * members->weights[challenger];
}

/* Asks for as little as it can: whether an endpoint is available matters for the winner only. */
static bool choose(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position) {
    uint32_t first, second;
    draw_pair(members, own, request->random, &first, &second);
    bool is_second = is_better(members, second, first);
    uint32_t winner = is_second ? second : first, other = is_second ? first : second;
    if (wm_is_usable(members, winner, request)) {
        *position = winner;
        return true;
    }
    bool is_other_usable = wm_is_usable(members, other, request);
    *position = is_other_usable ? other : first;
    return is_other_usable;
}

static const struct wm_chooser two_choices = {.prepare = prepare, .choose = choose};

bool wm_init(wm_string *config, wm_labels *about, wm_plan *plan, wm_string *error) {
    (void)about;
    if (!wm_config(config, NULL, NULL)) {
        *error = (wm_string)WM_STRING("config: least-request has nothing to configure, so it must be {}");
        return false;
    }
    *plan = (wm_plan){.reasons = {(wm_string *)wm_reasons, 3}};
    wm_forget();
    return true;
}

bool wm_update(uint64_t generation, uint64_t now_ms, wm_endpoints *endpoints, wm_string *error) {
    (void)generation, (void)now_ms, (void)error;
    wm_levels_update(&levels, &two_choices, endpoints);
    return true;
}

void wm_pick(wm_request *request, wm_decision *decision) {
    *decision = wm_levels_pick(&levels, &two_choices, request);
}
