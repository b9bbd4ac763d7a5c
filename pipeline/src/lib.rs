//! redtap as a library: what runs the nine pure stages of [`redtap_stages`] between the kernel's rings and the published
//! numbers. The `redtap` binary, the harness and the tests only embed it.
//!
//! The way of one event, by module: a [`source`] fills batches, [`drain`] feeds them into the first [`edge`], a
//! [`runner`] moves one batch through one stage, an [`actor`] turns runners when a doorbell rings, and [`topology`] wires
//! sources, runners and sinks together out of a checked [`blueprint`]. [`conservation`] adds up what every part says it
//! did; [`tap`] lets others watch single exchanges; [`recording`] keeps events in files.
//!
//! **Invariant:** every queue here is bounded and none blocks: a full one leaves the records upstream, in the end in the
//! kernel's ring, where the kernel counts what it had to refuse.
#![forbid(unsafe_code)]

pub mod actor;
pub mod alarms;
pub mod blueprint;
pub mod calls;
pub mod chain;
pub mod clock;
pub mod conservation;
pub mod dashboards;
pub mod drain;
pub mod edge;
pub mod engine;
pub mod export;
pub mod fleet;
pub mod governor;
pub mod history;
pub mod http;
pub mod input;
pub mod metadata;
mod percent;
pub mod recording;
pub mod records;
pub mod registry;
pub mod reports;
pub mod runner;
pub mod self_metrics;
pub mod settings;
pub mod source;
pub mod tap;
pub mod topology;
