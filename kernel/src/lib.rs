//! Placeholder until the crate is written.
pub mod features;
pub mod ring;
pub mod slots;
