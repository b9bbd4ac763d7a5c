//! The kernel side of redtap: eBPF programs, their loading, and the memory shared with them.
//!
//! [`features`] says what loads here and why not; [`probe`] loads, attaches, tunes and detaches one of the [`rungs`] with its
//! [`filters`]; [`ring`] leases stretches of a ring's memory, [`slots`] holds what the programs say without a record and what
//! user space asks of them; [`losses`] counts what was refused; [`memory`] gives back what loading left behind.
//!
//! **Invariant:** the only crate with unsafe code. Nothing here knows of stages, actors or metrics.

pub mod features;
pub mod filters;
pub mod losses;
pub mod memory;
pub mod probe;
pub mod ring;
pub mod rungs;
pub mod slots;
