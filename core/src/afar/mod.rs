//! What names modules that are somewhere else, and what an administrator says of where they may be.

mod allow;
mod image;
mod url;

pub use self::{
    allow::{AllowedModules, Pattern},
    image::{Image, Repository},
    url::{Origin, Url},
};
