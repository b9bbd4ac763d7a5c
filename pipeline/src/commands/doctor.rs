//! `redtap doctor`: what this machine can do. The exit code says whether `run` will work.

use redtap_kernel::features::Report;
use std::process::ExitCode;

pub(super) fn doctor() -> ExitCode {
    let report = Report::gather();
    print!("{}", report.render());
    if report.can_run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
