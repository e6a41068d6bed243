//! Runs load-balancing policies that users bring as WebAssembly components.
