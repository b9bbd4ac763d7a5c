//! The kernel side of redtap: eBPF programs, loading, the zero-copy ring consumer.
pub mod filters;
pub mod losses;
pub mod probe;
pub mod rungs;
