/* What stands in for a C library: the arena, and the few functions that the generated bindings call. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wasmesh/arena.h>

#define PAGE 65536u

/* The linker puts it where statics end. */
extern uint8_t __heap_base;

static uint8_t *kept_end = &__heap_base;
static uint8_t *top = &__heap_base;

void *wm_alloc(size_t size) {
    uint64_t end = ((uint64_t)(uintptr_t)top + size + 7) & ~(uint64_t)7;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end > have && __builtin_wasm_memory_grow(0, (size_t)((end - have + PAGE - 1) / PAGE)) == SIZE_MAX) {
        abort();
    }
    void *block = top;
    top = (uint8_t *)(uintptr_t)end;
    return block;
}

void wm_release(void *block) {
    top = block;
}

void *wm_keep(const void *block, size_t size) {
    memmove(&__heap_base, block, size);
    kept_end = &__heap_base + ((size + 7) & ~(size_t)7);
    top = kept_end;
    return &__heap_base;
}

void wm_forget(void) {
    top = kept_end;
}

void *malloc(size_t size) {
    return wm_alloc(size);
}

/* The host only ever asks for new blocks. For others the old size is unknown; what lies behind comes along unread. */
void *realloc(void *block, size_t size) {
    void *grown = wm_alloc(size);
    return block == NULL ? grown : memmove(grown, block, size);
}

void free(void *block) {
    (void)block;
}

_Noreturn void abort(void) {
    __builtin_trap();
}

/* Each of these is one instruction. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    return __builtin_memcpy(to, from, size);
}

void *memmove(void *to, const void *from, size_t size) {
    return __builtin_memmove(to, from, size);
}

void *memset(void *to, int byte, size_t size) {
    return __builtin_memset(to, byte, size);
}

int memcmp(const void *left, const void *right, size_t size) {
    const uint8_t *a = left, *b = right;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return a[i] - b[i];
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    const char *end = text;
    while (*end != '\0') {
        end++;
    }
    return (size_t)(end - text);
}

/* The bindings would have a description of the contract linked in; `wasmesh policy build` puts it there by itself. */
void __component_type_object_force_link_policy_only(void);
void __component_type_object_force_link_policy_only(void) {}
