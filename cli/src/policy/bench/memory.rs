//! How much memory this process has, as the kernel counts it.

use std::fs;

/// Resident memory in KiB; `None` where the kernel does not tell.
///
/// `smaps_rollup` is exact; `status` counts in batches of some dozen pages for each thread.
pub(super) fn resident_kib() -> Option<u64> {
    let read = |file: &str, field: &str| field_of(&fs::read_to_string(file).ok()?, field);
    read("/proc/self/smaps_rollup", "Rss:").or_else(|| read("/proc/self/status", "VmRSS:"))
}

fn field_of(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{field_of, resident_kib};

    #[test]
    fn the_kernels_pages_are_read() {
        let text = "7f00-7fff ---p 00000000 00:00 0   [rollup]\nRss:                3996 kB\nPss:  12 kB\n";
        assert_eq!(field_of(text, "Rss:"), Some(3996));
        assert_eq!(field_of(text, "VmRSS:"), None);
        assert_eq!(field_of("Rss: much", "Rss:"), None);
        assert!(resident_kib().unwrap() > 100);
    }
}
