/* Memory that cannot leak: what a policy keeps lies at the bottom, and everything above it is forgotten with each update.
 *
 *     | stack, statics | kept state | arguments of a call, scratch ... -> grows
 *
 * Nothing is freed one by one. An update builds its new state above the arguments, then wm_keep moves it to the bottom;
 * however many updates there are, memory grows to the largest of them and no further. */
#ifndef WASMESH_ARENA_H
#define WASMESH_ARENA_H

#include <stddef.h>

/* `size` bytes, aligned to 8; traps if there are none left. */
void *wm_alloc(size_t size);

/* Forgets what was allocated since `block`, and `block` too. */
void wm_release(void *block);

/* Makes these bytes the kept state, forgets all else, and says where they are now: pointers into them must be moved
 * along. */
void *wm_keep(const void *block, size_t size);

/* Forgets all but the kept state. To be called at the end of init, and at the start of a pick that reads strings. */
void wm_forget(void);

#endif
