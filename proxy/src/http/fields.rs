//! Header fields, whoever has read them.

use hyper::{HeaderMap, header::HeaderValue};

/// Header fields in which one can be looked up.
pub trait Fields {
    /// The first value of the field with this name, which is in lower case.
    fn first(&self, name: &str) -> Option<&[u8]>;
}

impl Fields for HeaderMap {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}
