//! A folder of manifests as a source: the objects an API server would give, read from files.
//!
//! [`parse`] turns the text of a file into objects, [`state`] keeps the last good state and finds what changed, both
//! without I/O; [`scan`] reads the files, [`modules`] those that policies name, and [`run`] follows them, giving whoever writes the time to finish.

mod calm;
pub mod modules;
pub mod parse;
pub mod scan;
mod stamp;
pub mod state;
mod watch;

pub use watch::{FolderError, run};
