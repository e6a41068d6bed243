//! The YAML reader: bounded in what it expands, and speaking of lines of the file.

use serde::de::DeserializeOwned;
use serde_saphyr::{
    Deserializer, Error, Location, MessageFormatter, Options, UserMessageFormatter,
    with_deserializer_from_str_with_options,
};

use super::{Broken, Located, document::Document};

/// How much aliases may add to what is written: enough for anchors, too little for a bomb.
const MAX_REPLAYED_EVENTS: usize = 100_000;

/// One document, to be read as one type or another.
pub(super) struct Yaml<'a> {
    document: &'a Document<'a>,
    options: Options,
}

impl<'a> Yaml<'a> {
    pub(super) fn new(document: &'a Document<'a>) -> Self {
        // What is written is bounded by the size of the file; only what aliases add needs a limit of its own.
        let events = document.text.len().saturating_mul(2).saturating_add(MAX_REPLAYED_EVENTS);
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_events: events, max_nodes: events },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED_EVENTS },
            with_snippet: false,
        };
        Self { document, options }
    }

    /// Reads the document as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Located<Broken>> {
        self.read_with(|deserializer| T::deserialize(deserializer))
    }

    /// Reads the document with a function.
    pub(super) fn read_with<T>(
        &self,
        read: impl for<'e> FnOnce(Deserializer<'a, 'e>) -> Result<T, Error>,
    ) -> Result<T, Located<Broken>> {
        with_deserializer_from_str_with_options(self.document.text, self.options.clone(), read)
            .map_err(|error| self.broken(&error))
    }

    /// A line of the file.
    pub(super) fn line(&self, location: Location) -> u64 {
        self.document.first_line + location.line().saturating_sub(1)
    }

    fn broken(&self, error: &Error) -> Located<Broken> {
        let line = error.location().map_or(self.document.first_line, |location| self.line(location));
        let mut error = error.without_snippet();
        while let Error::AliasError { error: cause, .. } = error {
            error = cause;
        }
        let reason = UserMessageFormatter.format_message(error).escape_debug().to_string();
        Located { line, value: Broken { object: None, reason } }
    }
}
