/* The contract under short names, and what every policy needs of it. A policy in C includes this and implements wm_init,
 * wm_update and wm_pick. */
#ifndef WASMESH_POLICY_H
#define WASMESH_POLICY_H

#include <policy_only.h>
#include <string.h>
#include <wasmesh/arena.h>

typedef policy_only_string_t wm_string;
typedef wasmesh_policy_types_endpoint_t wm_endpoint;
typedef exports_wasmesh_policy_policy_list_endpoint_t wm_endpoints;
typedef exports_wasmesh_policy_policy_list_label_t wm_labels;
typedef wasmesh_policy_types_plan_t wm_plan;
typedef wasmesh_policy_types_request_t wm_request;
typedef wasmesh_policy_types_decision_t wm_decision;

/* See policy.wit. Strings that are returned must be static. */
#define wm_init exports_wasmesh_policy_policy_init
#define wm_update exports_wasmesh_policy_policy_update
#define wm_pick exports_wasmesh_policy_policy_pick

#define wm_in_flight wasmesh_policy_stats_in_flight
#define wm_available wasmesh_policy_stats_available
#define WM_KEY0 WASMESH_POLICY_TYPES_TRAITS_KEY0

/* A string of the program's text. */
#define WM_STRING(text) {(uint8_t *)(text), sizeof(text) - 1}

static inline wm_decision wm_endpoint_at(uint32_t index, uint32_t reason) {
    wm_decision decision = {.reason = reason};
    decision.choice.tag = WASMESH_POLICY_TYPES_CHOICE_ENDPOINT;
    decision.choice.val.endpoint = index;
    return decision;
}

static inline wm_decision wm_fallback(void) {
    wm_decision decision = {.reason = 0};
    decision.choice.tag = WASMESH_POLICY_TYPES_CHOICE_FALLBACK;
    return decision;
}

#endif
