/* The little of the standard library that the generated bindings use; runtime.c has it. */
#ifndef WASMESH_STDLIB_H
#define WASMESH_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
_Noreturn void abort(void);

#endif
