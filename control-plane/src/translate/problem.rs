//! What is wrong with the input: problems are data, listed until they are mended.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use super::object::ObjectKey;

/// Something that lost part of the input: where, of which object, and why, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object, if it is known.
    pub object: Option<ObjectKey>,
    /// Where it is.
    pub place: Place,
    /// What is wrong and what to do about it.
    pub reason: String,
}

/// Where a [`Problem`] is. Displayed and serialized as `FILE:LINE` or as the path of the field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file or directory, at a line if one can be told.
    File {
        /// The path.
        path: PathBuf,
        /// The line, from 1.
        line: Option<u64>,
    },
    /// In a field of the object, such as `spec.ports[1].port`.
    Field(String),
}

/// Collects the problems of one object.
#[derive(Debug)]
pub(super) struct Report {
    object: ObjectKey,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn on(object: ObjectKey) -> Self {
        Self { object, problems: Vec::new() }
    }

    pub(super) fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        let object = Some(self.object.clone());
        self.problems.push(Problem { object, place: Place::Field(field.into()), reason: reason.into() });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Field(field) => f.write_str(field),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Problem {
    /// From the large to the small: file, object, reason; or object, field, reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, place, reason } = self;
        match (object, place) {
            (Some(object), Place::File { .. }) => write!(f, "{place}: {object}: {reason}"),
            (Some(object), Place::Field(_)) => write!(f, "{object}: {place}: {reason}"),
            (None, _) => write!(f, "{place}: {reason}"),
        }
    }
}
