//! What an operator decides about a policy.

use std::sync::Arc;

use crate::{log::LogSink, plan::Word};

/// How a policy may run.
#[derive(Clone)]
pub struct Settings {
    /// The configuration that `init` gets: JSON text, `{}` if there is none.
    pub config: String,
    /// The fuel of one pick; about one per instruction. The other calls have multiples of it, see [`crate::budget`].
    pub fuel: u64,
    /// How much linear memory an instance may have, in bytes.
    pub memory_bytes: usize,
    /// What it may have and do beside balancing.
    pub grants: Grants,
    /// Where its log lines go.
    pub log: Arc<dyn LogSink>,
}

/// Fuel of one pick by default: about 0.1 ms of work.
pub const DEFAULT_FUEL: u64 = 1_000_000;
/// Memory of an instance by default.
pub const DEFAULT_MEMORY_BYTES: usize = 16 << 20;

impl Default for Settings {
    /// No configuration, no grants, no log.
    fn default() -> Self {
        Self {
            config: "{}".to_owned(),
            fuel: DEFAULT_FUEL,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            grants: Grants::default(),
            log: Arc::new(()),
        }
    }
}

/// What a policy may have and do beside balancing. Nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grants {
    /// Read the beginning of bodies.
    pub body: bool,
    /// Refuse requests.
    pub reject: bool,
    /// Hold requests back.
    pub hold: bool,
    /// Read headers that carry secrets, such as Authorization and Cookie.
    pub sensitive_headers: bool,
}

impl Grants {
    /// Everything.
    pub const ALL: Self = Self { body: true, reject: true, hold: true, sensitive_headers: true };

    /// Whether this part of a request may be had.
    pub(crate) fn allow(self, word: &Word) -> bool {
        (self.body || !word.is_of_body()) && (self.sensitive_headers || !word.is_sensitive())
    }
}

/// Where an instance works, told to it in `init`: `zone`, `node`, `namespace`, `proxy`, `worker`, `workers`, `service`,
/// `port`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About(pub Vec<(String, String)>);
