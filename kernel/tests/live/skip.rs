//! What a test does that cannot run here.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says why a test does not run, on stderr and in the file that `REDTAP_SKIPS` names.
pub(crate) fn note(reason: &str) {
    eprintln!("SKIP {reason}");
    if let Some(log) = std::env::var_os("REDTAP_SKIPS")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(log)
    {
        let _ = writeln!(file, "{reason}");
    }
}
