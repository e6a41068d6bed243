/* Each endpoint in turn; with uneven weights, each in as many turns as its weight says. Picks what the built-in round
 * robin picks, and its twin in Rust.
 *
 * Uneven weights are served by the static stride scheduler of gRPC's `weighted_round_robin` (gRFC A58): a cursor walks over
 * the endpoints again and again, and one sits out the rounds that its weight does not entitle it to. */
#include <wasmesh/config.h>
#include <wasmesh/levels.h>

/* The heaviest endpoint's weight after scaling; it takes part in every round. */
#define MAX_WEIGHT 65535u

/* Endpoints begin their rounds at different phases, so that light ones do not all come in the same round. */
#define PHASE (MAX_WEIGHT / 2)

static struct wm_levels levels;

/* The first pick begins at a random place: else every proxy would begin with the same endpoint. */
static uint64_t cursor;
static bool has_begun;

/* Weights scaled so that the largest is MAX_WEIGHT; nothing if all are the same. */
static const void *prepare(const struct wm_members *members, const wm_endpoint *endpoints) {
    (void)endpoints;
    uint16_t *scaled = wm_alloc(members->uneven ? members->len * sizeof *scaled : 0);
    uint64_t largest = 1;
    for (uint32_t i = 0; i < members->len; i++) {
        largest = members->weights[i] > largest ? members->weights[i] : largest;
    }
    for (uint32_t i = 0; members->uneven && i < members->len; i++) {
        uint64_t weight = (members->weights[i] * (uint64_t)MAX_WEIGHT + largest / 2) / largest;
        /* At least 1: whoever has any weight at all has its turn some time. */
        scaled[i] = weight == 0 ? 1 : (uint16_t)weight;
    }
    return scaled;
}

/* Whose turn it is. Skips fewer than there are, because the heaviest never sits out. */
static uint32_t next(const struct wm_members *members, const uint16_t *scaled) {
    for (;;) {
        uint64_t turn = cursor++;
        uint32_t position = (uint32_t)(turn % members->len);
        if (!members->uneven) {
            return position;
        }
        uint64_t weight = scaled[position], round = turn / members->len;
        if ((weight * (round % MAX_WEIGHT) + (uint64_t)PHASE * position) % MAX_WEIGHT >= MAX_WEIGHT - weight) {
            return position;
        }
    }
}

static bool choose(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position) {
    *position = next(members, own);
    return wm_is_usable(members, *position, request);
}

static const struct wm_chooser round_robin = {.prepare = prepare, .choose = choose};

bool wm_init(wm_string *config, wm_labels *about, wm_plan *plan, wm_string *error) {
    (void)about;
    if (!wm_config(config, NULL, NULL)) {
        *error = (wm_string)WM_STRING("config: round-robin has nothing to configure, so it must be {}");
        return false;
    }
    *plan = (wm_plan){.reasons = {(wm_string *)wm_reasons, 3}};
    wm_forget();
    return true;
}

bool wm_update(uint64_t generation, uint64_t now_ms, wm_endpoints *endpoints, wm_string *error) {
    (void)generation, (void)now_ms, (void)error;
    wm_levels_update(&levels, &round_robin, endpoints);
    return true;
}

void wm_pick(wm_request *request, wm_decision *decision) {
    if (!has_begun) {
        cursor = request->random;
        has_begun = true;
    }
    *decision = wm_levels_pick(&levels, &round_robin, request);
}
