//! Versions, as far as they are compared.

/// Major and minor of `1.2.3`, `v1.2.3-rc.1`, `1.29+`; `None` for what is no version.
pub(super) fn minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

/// The tag of an image: what follows the last colon, unless that belongs to a port or a digest.
pub(super) fn tag(image: &str) -> Option<&str> {
    let (name, tag) = image.split('@').next()?.rsplit_once(':')?;
    (!name.is_empty() && !tag.contains('/')).then_some(tag)
}

/// Whether sidecars and control plane of these versions work together: at most one minor apart. `None` if one of them is
/// no version.
pub(super) fn is_close(sidecar: &str, control_plane: &str) -> Option<bool> {
    let (sidecar, control_plane) = (minor(sidecar)?, minor(control_plane)?);
    Some(sidecar.0 == control_plane.0 && sidecar.1.abs_diff(control_plane.1) <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        for (text, expected) in [
            ("v1.36.2", Some((1, 36))),
            ("1.29+", Some((1, 29))),
            ("0.1.0-rc.1", Some((0, 1))),
            ("1", None),
            ("latest", None),
            ("", None),
        ] {
            assert_eq!(minor(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tags_are_told_from_ports_and_digests() {
        assert_eq!(tag("ghcr.io/wasmesh/wasmesh-proxy:0.1.0"), Some("0.1.0"));
        assert_eq!(tag("localhost:5000/proxy"), None);
        assert_eq!(tag("localhost:5000/proxy:1.2.3@sha256:00"), Some("1.2.3"));
        assert_eq!(tag("proxy@sha256:00"), None);
    }

    #[test]
    fn one_minor_older_or_newer_is_close() {
        assert_eq!(is_close("0.2.9", "0.3.0"), Some(true));
        assert_eq!(is_close("0.4.0", "0.3.0"), Some(true));
        assert_eq!(is_close("0.1.0", "0.3.0"), Some(false));
        assert_eq!(is_close("1.3.0", "0.3.0"), Some(false));
        assert_eq!(is_close("latest", "0.3.0"), None);
    }
}
