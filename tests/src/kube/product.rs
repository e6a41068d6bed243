//! The product's own images, from what is built here.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Image;
use crate::process::binary;

/// The version of a build, which is the tag of its images.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where images of the product come from.
const REGISTRY: &str = "ghcr.io/wasmesh";
/// Where the files of images are, as they are shipped: `cargo xtask images` makes them. Without it the binaries of this build go
/// with their libraries, which is quicker to build.
const FILES: &str = "WASMESH_IMAGES";

impl Image {
    /// The image of both sidecars.
    ///
    /// # Panics
    /// When its files cannot be read.
    pub fn proxy(tag: &str) -> Self {
        product("wasmesh-proxy", tag, &["/usr/sbin/nft"])
    }

    /// The image of the control plane.
    ///
    /// # Panics
    /// When its files cannot be read.
    pub fn control_plane(tag: &str) -> Self {
        product("wasmesh-control-plane", tag, &[])
    }
}

fn product(name: &str, tag: &str, programs: &[&str]) -> Image {
    let command = format!("/{name}");
    let image = Image::new(&format!("{REGISTRY}/{name}:{tag}"), &[&command]);
    match env::var_os(FILES) {
        Some(files) => image.files(&PathBuf::from(files).join(name)),
        None => programs
            .iter()
            .fold(image.program(&command, &binary(name)), |image, program| image.program(program, Path::new(program))),
    }
}
