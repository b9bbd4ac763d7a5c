//! `redtap man`: the manual, out of the same definitions as `--help`.

use anyhow::{Context as _, Result};
use clap_mangen::Man as Page;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  redtap man /usr/local/share/man/man1 && man redtap
  redtap man . && man ./redtap-top.1";

/// What `man` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Man {
    /// The folder; it is made where it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes all pages of `command`, and says which.
pub(super) fn man(options: &Man, mut command: clap::Command) -> Result<ExitCode> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // What --help and --version are called is only known once it is built.
    command.build();
    write(folder, command.get_name(), &command)?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        write(folder, &format!("{}-{}", command.get_name(), inner.get_name()), inner)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, name: &str, command: &clap::Command) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    Page::new(command.clone()).title(name).render(&mut page).context("cannot make a page")?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
