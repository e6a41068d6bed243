//! Made-up requests for policies that look into them.

use std::borrow::Cow;

use bytes::Bytes;
use wasmesh_policy_host::{RequestSource, Word};

/// How many different ones there are. Not one only: a key that never changes would make its place in a table too warm.
const COUNT: usize = 64;

/// A small request that has whatever is asked for: every header, cookie and parameter has the same short value.
pub(super) struct MadeUp {
    path: String,
    value: String,
    client: String,
    body: Bytes,
}

/// All of them.
pub(super) fn made_up() -> Vec<MadeUp> {
    (0..COUNT).map(MadeUp::new).collect()
}

impl MadeUp {
    fn new(number: usize) -> Self {
        Self {
            path: format!("/items/{number}"),
            value: format!("value-{number}"),
            client: format!("10.1.0.{number}"),
            body: Bytes::from(format!(r#"{{"model":"small","user":"user-{number}","prompt":"hello"}}"#)),
        }
    }
}

impl RequestSource for MadeUp {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        let text = match word {
            Word::Header(_) | Word::Cookie(_) | Word::Query(_) => &self.value,
            Word::Path => &self.path,
            Word::Authority => "web.default:80",
            Word::SourceAddress => &self.client,
            Word::Sni => "web.default",
            // The host looks for it in the body itself.
            Word::Json { .. } => return None,
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }

    fn body(&self) -> Bytes {
        self.body.clone()
    }

    fn deadline_ms(&self) -> u32 {
        u32::MAX
    }
}
