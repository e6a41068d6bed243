/* Of two endpoints chosen by chance, the one with fewer requests under way. */
#include <wasmesh/config.h>
#include <wasmesh/levels.h>

/* Priorities, and somebody else when the chosen endpoint cannot take the request. */
static struct wm_levels levels;

/* There is nothing to know about endpoints but what the levels know. */
static const void *prepare(const struct wm_members *members, const wm_endpoint *endpoints) {
    (void)members, (void)endpoints;
    return NULL;
}

static bool choose(const struct wm_members *members, const void *own, const wm_request *request, uint32_t *position) {
    (void)own;
    uint32_t one = (uint32_t)wm_below(request->random, members->len);
    uint32_t other = (uint32_t)wm_below(wm_mix(request->random), members->len);
    bool is_other = wm_in_flight(wm_index(members, other)) < wm_in_flight(wm_index(members, one));
    *position = is_other ? other : one;
    return wm_is_usable(members, *position, request);
}

static const struct wm_chooser of_two = {.prepare = prepare, .choose = choose};

bool wm_init(wm_string *config, wm_labels *about, wm_plan *plan, wm_string *error) {
    (void)about;
    if (!wm_config(config, NULL, NULL)) {
        *error = (wm_string)WM_STRING("config: there is nothing to configure, so it must be {}");
        return false;
    }
    *plan = (wm_plan){.reasons = {(wm_string *)wm_reasons, 3}};
    wm_forget();
    return true;
}

bool wm_update(uint64_t generation, uint64_t now_ms, wm_endpoints *endpoints, wm_string *error) {
    (void)generation, (void)now_ms, (void)error;
    wm_levels_update(&levels, &of_two, endpoints);
    return true;
}

void wm_pick(wm_request *request, wm_decision *decision) {
    *decision = wm_levels_pick(&levels, &of_two, request);
}
