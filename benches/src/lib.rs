//! What the benchmarks share: real events in memory, and the floor that the pipeline is measured against.
//!
//! One question a binary, under `src/bin/`; its claim is written at its head.

pub mod alone;
pub mod events;
pub mod floor;
pub mod pass;
pub mod recordings;
pub mod running;
