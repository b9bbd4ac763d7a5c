//! Packet captures as a source of events: what the kernel would have told of the traffic in the file.
//!
//! The way of one packet: [`mod@file`] reads it, [`link`] finds the segment or datagram in it, [`flows`] its connection, [`tcp`]
//! puts the stream together, [`modes`] cuts it into operations, [`events`] writes the records that decode reads.
//!
//! Life cycle: a [`Capture`] is read to its end; then what still waits in the streams is given. What could not be read is said
//! by its [`Outcome`], which outlives it.
//!
//! Absent: threads and clocks. Time is that of the packets.

use events::Queue;
use file::{CaptureError, PacketFile};
use flows::{FlowCounts, Flows};
use link::Transport;
use modes::Mode;
use parking_lot::Mutex;
use records::{Next, Records};
use redtap_stages::stage::Ledger;
use redtap_stages::time::Nanos;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

pub mod events;
pub mod file;
pub mod flows;
pub mod link;
pub mod modes;
pub mod records;
pub mod tcp;

/// What was read of a capture, and what became of it.
#[derive(Debug)]
pub struct Outcome {
    /// Why reading ended before the end of the file.
    pub failure: Option<CaptureError>,
    /// Packets by what became of them.
    pub packets: Ledger,
    /// Connections.
    pub flows: FlowCounts,
}

/// A capture being read from `R`.
pub struct Capture<R> {
    file: PacketFile<R>,
    flows: Flows,
    queue: Queue,
    packets: Ledger,
    /// Time of the newest packet: one without a time has this.
    newest: Nanos,
    over: bool,
    outcome: Arc<Mutex<Outcome>>,
}

impl<R: Read + Send + 'static> Capture<R> {
    /// Reads `file`, cutting streams as `mode` says.
    pub fn new(file: R, mode: Mode) -> Self {
        Self {
            file: PacketFile::new(file),
            flows: Flows::new(mode),
            queue: Queue::default(),
            packets: Ledger::new::<link::Reject>(),
            newest: Nanos::ZERO,
            over: false,
            outcome: Arc::new(Mutex::new(Outcome {
                failure: None,
                packets: Ledger::new::<link::Reject>(),
                flows: FlowCounts::default(),
            })),
        }
    }

    /// What became of it; known when it has been read to its end.
    pub fn outcome(&self) -> Arc<Mutex<Outcome>> {
        Arc::clone(&self.outcome)
    }

    /// Reads one packet; false if there is none now.
    fn packet(&mut self) -> Result<Option<bool>, CaptureError> {
        let packet = match self.file.read()? {
            file::Next::Packet(packet) => packet,
            file::Next::Later => return Ok(Some(false)),
            file::Next::End => return Ok(None),
        };
        let at = if packet.at == Nanos::ZERO { self.newest } else { packet.at };
        self.newest = self.newest.max(at);
        self.packets.taken += 1;
        match link::carried(packet.link, packet.bytes) {
            Ok(carried) => {
                self.packets.passed += 1;
                match carried.transport {
                    Transport::Tcp(tcp) => self.flows.tcp(&carried, tcp, at, &mut self.queue),
                    Transport::Udp => self.flows.udp(&carried, at, &mut self.queue),
                }
            }
            Err(why) => self.packets.reject(why, 1),
        }
        Ok(Some(true))
    }

    fn finish(&mut self, failure: Option<CaptureError>) {
        self.over = true;
        self.flows.finish(&mut self.queue);
        let mut outcome = self.outcome.lock();
        outcome.failure = failure;
        outcome.packets = self.packets;
        outcome.flows = self.flows.counts();
    }
}

impl<R: Read + Send + 'static> Records for Capture<R> {
    fn next_record(&mut self, memory: &mut Vec<u8>) -> Next {
        loop {
            if self.queue.pop(memory) {
                return Next::Record;
            }
            if self.over {
                return Next::End;
            }
            match self.packet() {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Next::Later,
                Ok(None) => self.finish(None),
                Err(error) => self.finish(Some(error)),
            }
        }
    }
}

impl<R> fmt::Debug for Capture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("packets", &self.packets).field("flows", &self.flows.counts()).finish()
    }
}
