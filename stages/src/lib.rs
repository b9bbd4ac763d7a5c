//! The pure half of redtap: what happens to one event between the kernel's ring and the published numbers.
//!
//! Read the modules in the order in which an event meets them: [`decode`], [`identify`], [`parse`], [`pair`],
//! [`filter`], [`converge`], [`join`], [`aggregate`], [`flush`]. What travels between them is in [`flow`], in travel
//! order; the contract that all nine keep is in [`stage`]; one module a protocol is under [`protocols`].
//!
//! **Invariant:** absent here are threads, clocks, sockets, files, unsafe code, and any knowledge of actix, rtrb or aya.
//! Time is an argument. A stage is tested by calling it.
#![forbid(unsafe_code)]

pub mod abi;
pub mod aggregate;
pub mod converge;
pub mod decode;
pub mod filter;
pub mod flow;
pub mod flush;
pub mod identify;
pub mod join;
pub mod limits;
pub mod metric;
pub mod pair;
pub mod parse;
pub mod protocols;
mod recent;
pub mod sql;
pub mod stage;
pub mod symbol;
pub mod text;
pub mod time;
