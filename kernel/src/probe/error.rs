//! Why a probe could not be attached, in words that say what to do.

use std::fmt;

use aya::BtfError;
use thiserror::Error;

use crate::rungs::{Rung, StepError};

/// Why [`crate::probe::Probe::attach`] gave nothing.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// An option out of its range.
    #[error("{option}: must be {allowed}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// The kernel's types cannot be read.
    #[error("no BTF at /sys/kernel/btf/vmlinux ({source}): the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    NoBtf {
        /// What reading it gave.
        #[source]
        source: Box<BtfError>,
    },
    /// No rung that was tried attached.
    #[error("no probe could be attached: {tried}")]
    NoRung {
        /// Each with its reason.
        tried: RungFailures,
    },
}

/// A rung and the step it failed at.
#[derive(Debug)]
pub struct RungFailure {
    /// Which.
    pub rung: Rung,
    /// Where and why.
    pub step: StepError,
}

impl fmt::Display for RungFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rung {}: {}", self.rung, self.step)
    }
}

/// All that were tried, in order; at most one a rung.
#[derive(Debug)]
pub struct RungFailures(Vec<RungFailure>);

impl From<Vec<RungFailure>> for RungFailures {
    fn from(failures: Vec<RungFailure>) -> Self {
        Self(failures)
    }
}

impl RungFailures {
    /// In the order they were tried.
    pub fn iter(&self) -> impl Iterator<Item = &RungFailure> {
        self.0.iter()
    }
}

impl fmt::Display for RungFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, failure) in self.0.iter().enumerate() {
            write!(f, "{}{failure}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
