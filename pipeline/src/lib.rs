//! redtap: the pipeline as a library.

pub mod settings;
