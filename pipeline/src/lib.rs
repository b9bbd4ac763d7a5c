//! redtap: the pipeline as a library.

pub mod registry;
pub mod settings;
