//! The last four stages, each called as the runner calls it.

#[path = "converge_to_flush/aggregate.rs"]
mod aggregate;
#[path = "converge_to_flush/converge.rs"]
mod converge;
#[path = "converge_to_flush/join.rs"]
mod join;
#[path = "converge_to_flush/sample.rs"]
mod sample;
