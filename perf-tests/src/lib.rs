//! The load-testing harness: what an agent costs the application it watches, measured beside real servers under real load.
//!
//! `run` runs cases (`cases/`, one folder each) and writes a report; `list` names them; `report` shows a report again; `surface` measures the ways out. The
//! other commands are the harness's own tools, which it starts as processes of their own. What is measured and how is in
//! `perf-tests/README.md`.
//!
//! **Invariant:** only what this program started is watched and ended; servers listen on loopback; all load is bounded in
//! time or number. No time decides whether a run fails.

pub mod agent;
pub mod bystander;
pub mod case;
pub mod churn;
pub mod generator;
pub mod latency;
pub mod load;
pub mod measure;
pub mod pin;
pub mod plan;
pub mod report;
pub mod run;
pub mod server;
pub mod statistics;
pub mod surface;
