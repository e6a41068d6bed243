/* Reading a configuration: enough JSON for an object of at most one string. */
#ifndef WASMESH_CONFIG_H
#define WASMESH_CONFIG_H

#include <wasmesh/policy.h>

static inline const uint8_t *wm_skip_spaces(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
        at++;
    }
    return at;
}

/* Steps over this character and the spaces around it; NULL if it is not there. */
static inline const uint8_t *wm_expect(const uint8_t *at, const uint8_t *end, char character) {
    at = at == NULL ? NULL : wm_skip_spaces(at, end);
    return at != NULL && at < end && *at == (uint8_t)character ? wm_skip_spaces(at + 1, end) : NULL;
}

/* Steps over a string without escapes; NULL if there is none. */
static inline const uint8_t *wm_read_string(const uint8_t *at, const uint8_t *end, wm_string *string) {
    if (at == NULL || at >= end || *at != '"') {
        return NULL;
    }
    string->ptr = (uint8_t *)++at;
    while (at < end && *at != '"' && *at != '\\') {
        at++;
    }
    string->len = (size_t)(at - string->ptr);
    return wm_expect(at, end, '"');
}

/* Whether `config` is an object that has nothing in it but, perhaps, a string of this name. If it has, that is put into
 * `value`, as a part of `config`. `name` may be NULL for an object that must be empty. */
static inline bool wm_config(const wm_string *config, const char *name, wm_string *value) {
    const uint8_t *end = config->ptr + config->len;
    const uint8_t *at = wm_expect(config->ptr, end, '{');
    const uint8_t *closed = wm_expect(at, end, '}');
    if (closed != NULL || name == NULL) {
        return closed == end;
    }
    wm_string key = {NULL, 0}, found = {NULL, 0};
    at = wm_read_string(at, end, &key);
    at = wm_read_string(wm_expect(at, end, ':'), end, &found);
    at = wm_expect(at, end, '}');
    if (at != end || key.len != strlen(name) || memcmp(key.ptr, name, key.len) != 0) {
        return false;
    }
    *value = found;
    return true;
}

#endif
