//! Stages.
pub mod abi;
