//! `redtap dashboards`: the dashboards for Grafana, as files.

use anyhow::{Context as _, Result};
use clap::Args;
use redtap::dashboards::{all, text};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `dashboards` takes.
#[derive(Debug, Clone, Args)]
pub(super) struct Dashboards {
    /// The folder for the files; it is made if it is not there.
    folder: PathBuf,
}

pub(super) fn dashboards(options: &Dashboards) -> Result<ExitCode> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for dashboard in all() {
        let path = folder.join(dashboard.file);
        std::fs::write(&path, text(&dashboard)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
