//! What is said at the end of a replay: how far the file could be read, and what in it could not.

use parking_lot::Mutex;

use redtap::recording::RecordingError;
use redtap_captures::file::CaptureError;
use std::error::Error;
use std::sync::{Arc, OnceLock};

/// What became of a file.
pub(super) enum Outcome {
    Recording(Arc<OnceLock<RecordingError>>),
    Capture(Arc<Mutex<redtap_captures::Outcome>>),
}

impl Outcome {
    /// Says what is to be said; false if the file is damaged.
    pub(super) fn tell(&self, name: &str) -> bool {
        match self {
            Self::Recording(failure) => match failure.get() {
                Some(error) => {
                    eprintln!("redtap: {name} could only be read up to here: {}", chain(error));
                    false
                }
                None => true,
            },
            Self::Capture(outcome) => tell_capture(&outcome.lock(), name),
        }
    }
}

fn tell_capture(outcome: &redtap_captures::Outcome, name: &str) -> bool {
    let (packets, flows) = (&outcome.packets, &outcome.flows);
    eprintln!("{} packets of {} connections", packets.taken, flows.flows);
    let unread: Vec<String> = packets.reasons().filter(|(_, n)| *n > 0).map(|(why, n)| format!("{why} {n}")).collect();
    if !unread.is_empty() {
        eprintln!("packets not read: {}", unread.join(", "));
    }
    for (n, what) in [
        (flows.gaps, format!("gaps in streams, {} bytes in all", flows.gap_bytes)),
        (flows.strays, "segments that are not of the stream they name".to_owned()),
        (flows.crowded_out, "connections forgotten to make room for others".to_owned()),
    ] {
        if n > 0 {
            eprintln!("{n} {what}");
        }
    }
    match &outcome.failure {
        None => true,
        // What is left when the tool that wrote it is ended.
        Some(cut @ CaptureError::Truncated { .. }) => {
            eprintln!("redtap: {name}: {cut}; everything before it was read");
            true
        }
        Some(error) => {
            eprintln!("redtap: {name} could only be read up to here: {}", chain(error));
            false
        }
    }
}

/// An error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
