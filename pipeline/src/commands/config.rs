//! `redtap config`: what holds, and who said so.

use super::Probing;
use anyhow::Result;
use std::io::Write as _;
use std::process::ExitCode;

pub(super) fn config(probing: &Probing) -> Result<ExitCode> {
    let loaded = probing.load()?;
    std::io::stdout().write_all(loaded.render().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
