//! Placeholder until the crate is written.
pub mod ring;
pub mod slots;
