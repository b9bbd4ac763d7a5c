//! redtap: the pipeline as a library.

pub mod http;
pub mod registry;
pub mod settings;
