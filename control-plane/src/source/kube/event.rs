//! What a watch has to say, whatever the kind of its objects.

use crate::translate::{Object, ObjectKey};

/// An object as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.resourceVersion`: compared, never ordered.
    pub version: String,
    /// The object; `None` if it cannot be read, and is kept as it was.
    pub object: Option<Object>,
}

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// All objects are going to be listed, because nothing is known yet or too much was missed.
    ListBegins,
    /// An object of the list.
    Listed(Seen),
    /// The list is complete: what was not in it does not exist.
    ListEnds,
    /// An object is new or changed.
    Applied(Seen),
    /// An object is gone.
    Deleted(ObjectKey),
    /// The watch is broken for now; it is taken up again by itself.
    Failed {
        /// Why.
        reason: String,
        /// Whether there is no point in waiting for it: the API server refuses it, or it has been broken for long.
        is_final: bool,
    },
    /// It works again, although there is nothing to say.
    Works,
}
