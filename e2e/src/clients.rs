//! Clients whose drivers come from language registries: the programs are in `e2e/clients/`, and `cargo xtask install` builds
//! them with their drivers into `target/e2e-clients/`, once.

pub mod mysql;
pub mod postgres;
pub mod sql;

use std::path::{Path, PathBuf};

/// The folder of what was built, if it was: `NAME.done` beside it says so.
#[must_use]
pub fn kit(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-clients").join(name);
    folder.with_extension("done").is_file().then_some(folder)
}

/// A file of `e2e/clients/`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}
