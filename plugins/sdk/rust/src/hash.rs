//! The hash of the mesh, for what the host does not hash: names and addresses of endpoints.

/// XXH3-64 with seed 0, the same that makes keys of what `Plan::keys` names.
pub fn xxh3(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
