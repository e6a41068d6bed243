//! Where objects come from. A source turns whatever it watches into changes of objects; the registry does the rest.

pub mod folder;
pub mod kube;

use crate::{registry::ObjectChange, translate::Problem};

/// What a source has to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceUpdate {
    /// What changed since the last update, to be applied at once.
    pub changes: Vec<ObjectChange>,
    /// Everything that is wrong now; it replaces what the last update said.
    pub problems: Vec<Problem>,
}
