//! What the mesh adds to a pod, and which pods it leaves alone. Pure: the webhook and `wasmesh inject` both ask here.
