//! The kernels that a GPU back end tunes and compiles.

use std::path::Path;

/// Keeps the kernels that a GPU back end tunes and compiles, in this folder or where the system has such things for its
/// user, and takes up those that are there: tuning takes minutes, and kernels that are chosen anew may compute other
/// last bits. It must be called before the first look at a device. A program without such a back end has nothing to
/// keep.
#[cfg(feature = "cubecl")]
pub fn keep_kernels(folder: Option<&Path>) {
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};
    let mut config = CubeClRuntimeConfig::default().override_from_env();
    config.environment.path = folder.map_or(CacheConfig::Global, |folder| CacheConfig::Directory(folder.into()));
    config.compilation.cache = true;
    // What a host of this library has set stays.
    CubeClRuntimeConfig::try_set(config);
}

/// Does nothing, because this program has no back end that compiles kernels.
#[cfg(not(feature = "cubecl"))]
pub fn keep_kernels(_: Option<&Path>) {}
