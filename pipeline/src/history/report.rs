//! The history as [`Reports`].
//!
//! A report is made in one go when its future is first polled, by whoever polls it: some milliseconds, or tens of them for a
//! day of many series. Who must not wait that long polls it elsewhere.

use super::{History, service, services, topology, wall_seconds};
use crate::reports::{Making, Range, ReportError, Reports, ServiceReport, Services, Topology};

impl Reports for History {
    fn range(&self, seconds: u32, until: Option<i64>) -> Result<Range, ReportError> {
        self.range_at(wall_seconds(), seconds, until)
    }

    fn services(&self, range: Range) -> Making<'_, Services> {
        Box::pin(async move { Ok(services::services(&self.view(range)?)) })
    }

    fn service(&self, name: &str, range: Range) -> Making<'_, Option<ServiceReport>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(service::service(&self.view(range)?, &name)) })
    }

    fn topology(&self, range: Range) -> Making<'_, Topology> {
        Box::pin(async move { Ok(topology::topology(&self.view(range)?)) })
    }

    fn source(&self) -> &'static str {
        "history"
    }
}
