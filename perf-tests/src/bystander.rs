//! A process that has nothing to do with the traffic: it reads a file and asks for its parent, over and over, and tells what
//! one of each takes. Hooks on system calls make it pay; hooks on sockets do not.

use anyhow::Result;
use redtap_e2e::stopwatch::now;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::FileExt as _;

/// Calls that are timed together, so that the clock does not weigh.
const BATCH: u32 = 1_000;

/// What a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bystander {
    /// pread(2) of 4 kB that are in the page cache, ns.
    pub file_read_ns: f64,
    /// getppid(2), ns.
    pub getppid_ns: f64,
}

/// Measures for so many milliseconds. Of the batches the middle one counts: what interrupts some is not told.
///
/// # Errors
/// When the file cannot be made or read.
pub fn measure(milliseconds: u64) -> Result<Bystander> {
    let file = tempfile::tempfile()?;
    file.write_all_at(&[1; 4_096], 0)?;
    let end = now() + milliseconds * 1_000_000;
    let (mut reads, mut parents, mut page) = (Vec::new(), Vec::new(), [0_u8; 4_096]);
    while now() < end {
        reads.push(batch(|| {
            file.read_exact_at(&mut page, 0)?;
            std::hint::black_box(&page);
            Ok(())
        })?);
        parents.push(batch(|| {
            std::hint::black_box(rustix::process::getppid());
            Ok(())
        })?);
    }
    let middle = |values: Vec<u64>| redtap_e2e::stopwatch::median(values) as f64 / f64::from(BATCH);
    Ok(Bystander { file_read_ns: middle(reads), getppid_ns: middle(parents) })
}

fn batch(mut call: impl FnMut() -> Result<()>) -> Result<u64> {
    let began = now();
    for _ in 0..BATCH {
        call()?;
    }
    Ok(now() - began)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_read_of_4_kb_takes_longer_than_asking_for_the_parent() {
        let taken = super::measure(50).unwrap();
        assert!(taken.file_read_ns > taken.getppid_ns && taken.getppid_ns > 0.0, "{taken:?}");
    }
}
