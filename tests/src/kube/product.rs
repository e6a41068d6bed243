//! The product's own images, from binaries as they are built here.

use std::{env, path::PathBuf};

use super::Image;
use crate::process::binary;

/// The control plane's binary and image.
const CONTROL_PLANE: &str = "wasmesh-control-plane";
/// Where images of the product come from.
const REGISTRY: &str = "ghcr.io/wasmesh";
/// The version of a build, which is the tag of its images.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A folder of binaries for images: static ones, as they are shipped. Without it, those of this build go with their libraries.
const BINARIES: &str = "WASMESH_IMAGE_BINARIES";

impl Image {
    /// The image of both sidecars. `nft` has no static binary; it goes with its libraries.
    ///
    /// # Panics
    /// When its programs cannot be read.
    pub fn proxy(tag: &str) -> Self {
        let image = Self::new(&format!("{REGISTRY}/wasmesh-proxy:{tag}"), &["/wasmesh-proxy"]);
        image
            .program("/wasmesh-proxy", &built("wasmesh-proxy"))
            .program("/usr/sbin/nft", &PathBuf::from("/usr/sbin/nft"))
    }

    /// The image of the control plane.
    ///
    /// # Panics
    /// When its program cannot be read.
    pub fn control_plane(tag: &str) -> Self {
        let image = Self::new(&format!("{REGISTRY}/{CONTROL_PLANE}:{tag}"), &["/wasmesh-control-plane"]);
        image.program("/wasmesh-control-plane", &built(CONTROL_PLANE))
    }
}

fn built(name: &str) -> PathBuf {
    env::var_os(BINARIES).map_or_else(|| binary(name), |folder| PathBuf::from(folder).join(name))
}
