//! The hash of the mesh, for what the host does not hash: names and addresses of endpoints.

/// XXH3-64 with seed 0, the same that makes keys of what `Plan::keys` names.
pub fn xxh3(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::xxh3;

    #[derive(serde::Deserialize)]
    struct Vector {
        text: Option<String>,
        hex: Option<String>,
        xxh3_64: String,
    }

    #[test]
    fn the_vectors_of_the_contract_hold() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../../wit/hash-vectors.json")).unwrap();
        assert!(vectors.len() > 40);
        for vector in vectors {
            let hex = vector.hex.unwrap_or_default();
            let bytes = vector.text.map(String::into_bytes).unwrap_or_else(|| from_hex(&hex));
            assert_eq!(format!("{:016x}", xxh3(&bytes)), vector.xxh3_64, "{} bytes", bytes.len());
        }
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }
}
