//! What all answers are made of.

use super::access::Access;
use super::{Backend, HttpCounters};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Shared by all requests.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) counters: Arc<HttpCounters>,
    pub(super) access: Arc<Access>,
    /// Places of scrapes.
    pub(super) scrapes: Arc<Semaphore>,
    /// Places of reports.
    pub(super) reports: Arc<Semaphore>,
}
