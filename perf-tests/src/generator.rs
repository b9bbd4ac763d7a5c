//! The harness's own load generator: HTTP/1, Redis or DNS over many connections from one thread.
//!
//! With a rate the loop is open: request number n is due at start + n / rate, whatever became of those before. It is sent
//! then, on any connection that is free, or waits until one is; its latency counts from when it was due. So a server that
//! stalls does not slow the questions down and hide how many would have met the stall (coordinated omission is corrected by
//! measuring, not by guessing). Without a rate the loop is closed: each connection asks again as soon as it is answered.
//!
//! The seed decides which connection asks and which key is asked for. One request at a time a connection; connections stay
//! open. Absent: pipelines, TLS, retries. Requests that wait are bounded by rate times seconds.

mod speech;

pub use speech::Speech;

use crate::latency::Latency;
use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use redtap_e2e::stopwatch::now;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use speech::Progress;
use std::collections::VecDeque;
use std::net::{TcpStream, UdpSocket};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

/// Bytes read at once.
const READ: usize = 256 * 1024;
/// Events taken at once.
const EVENTS: usize = 256;
/// How long answers are waited for after the last request was due, ns.
const PATIENCE: u64 = 2_000_000_000;
const SECOND: f64 = 1e9;

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The protocol and what is asked for.
    pub speech: Speech,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Connections, at least 1.
    pub connections: u32,
    /// Requests a second, above 0; without it as many as are answered.
    pub rate: Option<f64>,
    /// Seconds.
    pub seconds: f64,
    /// Of what is random.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Latencies.
    pub latency: Latency,
    /// Requests that had to wait for a free connection.
    pub waited: u64,
}

/// Carries an order out.
///
/// # Errors
/// When a connection cannot be made or is lost, or an answer is not what it should be.
pub fn generate(order: &Order) -> Result<Outcome> {
    ensure!(order.connections > 0, "no connections");
    ensure!(order.rate.is_none_or(|rate| rate > 0.0), "a rate of 0");
    // A timer of this thread may otherwise fire 50 us late.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let mut generator = Generator::connect(order)?;
    match order.rate {
        Some(rate) => generator.open_loop(rate, order.seconds),
        None => generator.closed_loop(order.seconds),
    }
}

struct Connection {
    socket: OwnedFd,
    /// When the request that it waits for was due.
    due: Option<u64>,
    progress: Progress,
}

struct Generator {
    speech: Speech,
    connections: Vec<Connection>,
    /// Numbers of those that wait for nothing.
    free: Vec<usize>,
    events: OwnedFd,
    random: fastrand::Rng,
    request: Vec<u8>,
    read: Vec<u8>,
    latencies: Histogram<u64>,
    /// When the last answer came.
    last: Option<u64>,
}

impl Generator {
    fn connect(order: &Order) -> Result<Self> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..order.connections {
            let socket = connect(&order.speech, order.port).with_context(|| format!("connection {number}"))?;
            let place = epoll::EventData::new_u64(u64::from(number));
            epoll::add(&events, &socket, place, epoll::EventFlags::IN)?;
            connections.push(Connection { socket, due: None, progress: Progress::default() });
        }
        Ok(Self {
            speech: order.speech.clone(),
            free: (0..connections.len()).collect(),
            connections,
            events,
            random: fastrand::Rng::with_seed(order.seed),
            request: Vec::new(),
            read: Vec::with_capacity(READ),
            latencies: Histogram::new(3)?,
            last: None,
        })
    }

    fn open_loop(&mut self, rate: f64, seconds: f64) -> Result<Outcome> {
        let period = SECOND / rate;
        let count = crate::latency::whole(rate * seconds);
        let (start, mut sent, mut waiting, mut waited) = (now(), 0_u64, VecDeque::new(), 0_u64);
        let due_at = |number: u64| start + crate::latency::whole(number as f64 * period);
        let end = due_at(count) + PATIENCE;
        loop {
            let time = now();
            while sent < count && due_at(sent) <= time {
                if self.free.is_empty() {
                    waiting.push_back(due_at(sent));
                    waited += 1;
                } else {
                    self.ask(due_at(sent))?;
                }
                sent += 1;
            }
            if sent == count && waiting.is_empty() && self.free.len() == self.connections.len() || time >= end {
                break;
            }
            let next = if sent < count { due_at(sent) } else { end };
            self.hear(next.saturating_sub(now()))?;
            while !self.free.is_empty()
                && let Some(due) = waiting.pop_front()
            {
                self.ask(due)?;
            }
        }
        let due = self.connections.iter().filter_map(|connection| connection.due).chain(waiting);
        let late: Vec<u64> = due.map(|due| now() - due).collect();
        for waited in &late {
            self.latencies.record(*waited)?;
        }
        let latency = Latency::of(&self.latencies, self.answered_since(start), late.len() as u64);
        Ok(Outcome { latency, waited })
    }

    fn closed_loop(&mut self, seconds: f64) -> Result<Outcome> {
        let start = now();
        let end = start + crate::latency::whole(seconds * SECOND);
        loop {
            let time = now();
            while time < end && !self.free.is_empty() {
                self.ask(time)?;
            }
            if time >= end && self.free.len() == self.connections.len() || time >= end + PATIENCE {
                break;
            }
            self.hear((end + PATIENCE).saturating_sub(time))?;
        }
        let unanswered = self.connections.iter().filter(|connection| connection.due.is_some()).count() as u64;
        let latency = Latency::of(&self.latencies, self.answered_since(start), unanswered);
        Ok(Outcome { latency, waited: 0 })
    }

    /// Seconds from then until the last answer, or until now if there was none.
    fn answered_since(&self, start: u64) -> f64 {
        (self.last.unwrap_or_else(now) - start) as f64 / SECOND
    }

    /// Sends a request on a free connection.
    fn ask(&mut self, due: u64) -> Result<()> {
        let number = self.free.swap_remove(self.random.usize(..self.free.len()));
        let connection = self.connections.get_mut(number).context("no such connection")?;
        self.speech.ask(&mut self.random, &mut self.request);
        let sent = send(&connection.socket, &self.request, SendFlags::NOSIGNAL)?;
        // Requests are small and the connection waits for nothing: there is room.
        ensure!(sent == self.request.len(), "{sent} of {} bytes were sent", self.request.len());
        connection.due = Some(due);
        Ok(())
    }

    /// Waits for answers, at most so many nanoseconds, and takes those that are there.
    fn hear(&mut self, limit: u64) -> Result<()> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(limit % 1_000_000_000).unwrap_or(0),
        };
        let mut ready = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.events, spare_capacity(&mut ready), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in ready {
            let number = usize::try_from(event.data.u64())?;
            let connection = self.connections.get_mut(number).context("no such connection")?;
            self.read.clear();
            let (got, _) = match recv(&connection.socket, spare_capacity(&mut self.read), RecvFlags::DONTWAIT) {
                Ok(got) => got,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error).context("a connection was lost"),
            };
            if got == 0 {
                bail!("the server closed a connection");
            }
            if self.speech.hear(&mut connection.progress, &self.read)? {
                let due = connection.due.take().context("an answer that nobody asked for")?;
                let time = now();
                self.last = Some(time);
                self.latencies.record(time - due)?;
                self.free.push(number);
            }
        }
        Ok(())
    }
}

fn connect(speech: &Speech, port: u16) -> Result<OwnedFd> {
    let address = ("127.0.0.1", port);
    if speech.is_datagram() {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        return Ok(socket.into());
    }
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A server that stalls once for 200 ms: nobody may be spared the wait.
    #[test]
    fn requests_that_were_due_during_a_stall_count_from_when_they_were_due() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut answered) = ([0_u8; 4096], 0);
            while stream.read(&mut buffer).unwrap() > 0 {
                answered += 1;
                if answered == 10 {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
                stream.write_all(b"+OK\r\n").unwrap();
            }
        });
        let order = Order { speech: Speech::Redis, port, connections: 1, rate: Some(500.0), seconds: 0.6, seed: 7 };
        let outcome = generate(&order).unwrap();
        server.join().unwrap();
        assert_eq!((outcome.latency.requests, outcome.latency.unanswered), (300, 0));
        // 100 requests were due in the 200 ms; measured from when they were sent, a single one would be slow.
        let (median, p75) = (outcome.latency.at(0.5).unwrap(), outcome.latency.at(0.75).unwrap());
        assert!(outcome.waited >= 90, "{outcome:?}");
        assert!(p75 > 20_000.0, "{median} {p75}");
    }

    /// A server that takes 10 ms for each of 50 requests that were due in a tenth of a second.
    #[test]
    fn late_answers_make_the_time_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0_u8; 4096];
            while stream.read(&mut buffer).unwrap() > 0 {
                std::thread::sleep(std::time::Duration::from_millis(10));
                stream.write_all(b"+OK\r\n").unwrap();
            }
        });
        let order = Order { speech: Speech::Redis, port, connections: 1, rate: Some(500.0), seconds: 0.1, seed: 7 };
        let latency = generate(&order).unwrap().latency;
        server.join().unwrap();
        assert_eq!(latency.requests, 50);
        assert!(latency.seconds >= 0.01 * (latency.requests - latency.unanswered) as f64, "{latency:?}");
        assert!(latency.rate() <= 100.0, "{latency:?}");
    }
}
