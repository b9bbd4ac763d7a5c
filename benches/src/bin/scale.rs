//! Question: what does an event cost when there are many connections, or many series?
//!
//! Aim: with 60 000 connections (a shard follows at most 65 536), or with 100 000 series, an event costs at most 1.5 times
//! what it costs with 10. Not reached: `docs/performance.md` has the numbers.
//!
//! One recorded HTTP/1 exchange (wrk, seen by nginx: a request record, a record of the answer's head, one of its body) is made into
//! as many connections, services and status codes as asked for; they take turns, so that each event finds what it needs in
//! no cache that is smaller than all of it: the worst order there is. The nine stages in one loop ([`redtap_benches::floor`]),
//! warm; processor time an event, medians over rounds; all sizes take turns in one process.
//!
//! `cargo run --release -p redtap-benches --bin scale [ROUNDS]`

use anyhow::{Context as _, Result, ensure};
use redtap_benches::events::{Events, Mix};
use redtap_benches::floor::Floor;
use redtap_e2e::stopwatch::{Spent, measure, median};
use redtap_stages::abi::{EventHeader, kind};
use redtap_stages::flow::event::Span;
use redtap_stages::time::Nanos;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Measured rounds, unless told.
const ROUNDS: usize = 5;
/// Exchanges in a measured round, about.
const EXCHANGES: usize = 60_000;
/// Status codes of a service: 200 to 299.
const CODES: usize = 100;

/// How many of what.
struct Size {
    name: &'static str,
    connections: usize,
    series: usize,
}

const SIZES: &[Size] = &[
    Size { name: "10 connections, 10 series", connections: 10, series: 10 },
    Size { name: "1 000 connections", connections: 1_000, series: 10 },
    Size { name: "10 000 connections", connections: 10_000, series: 10 },
    Size { name: "60 000 connections", connections: 60_000, series: 10 },
    Size { name: "1 000 series", connections: 10, series: 1_000 },
    Size { name: "10 000 series", connections: 100, series: 10_000 },
    Size { name: "100 000 series", connections: 1_000, series: 100_000 },
];

/// A record, taken apart.
struct Record {
    header: EventHeader,
    payload: Vec<u8>,
}

/// The records of one exchange on a connection that stays open, as nginx's side saw them.
fn exchange() -> Result<Vec<Record>> {
    let mut of_one = Vec::new();
    for record in Events::recorded(Mix::Http1)? {
        let (header, payload) = EventHeader::read_from_prefix(&record).ok().context("a record without its header")?;
        if header.role == 2 && header.kind == kind::DATA {
            of_one.push(Record { header, payload: payload.to_vec() });
        }
    }
    // wrk's connections are the ones that ask again.
    let again = of_one.iter().find(|one| one.header.turn == 2).context("no second exchange")?.header.conn_id;
    of_one.retain(|one| one.header.conn_id == again && one.header.turn < 2);
    ensure!(of_one.iter().any(|one| one.header.turn == 0) && of_one.len() > 1, "{} records", of_one.len());
    Ok(of_one)
}

/// Makes rounds of exchanges.
struct Maker {
    exchange: Vec<Record>,
    connections: usize,
    services: usize,
    codes: usize,
    /// Exchanges made so far.
    made: usize,
    now: u64,
}

impl Maker {
    fn new(size: &Size) -> Result<Self> {
        let codes = size.series.min(CODES);
        let services = size.series / codes;
        let now = 1_000_000_000;
        Ok(Self { exchange: exchange()?, connections: size.connections.max(services), services, codes, made: 0, now })
    }

    /// The next `n` exchanges, connection after connection, a microsecond a record.
    fn next(&mut self, n: usize) -> Result<Events> {
        let (mut memory, mut records) = (Vec::new(), Vec::new());
        let per_exchange = |turn: u32| -> u64 {
            self.exchange.iter().filter(|one| one.header.turn == turn).map(|one| u64::from(one.header.len)).sum()
        };
        let (asked, answered) = (per_exchange(0), per_exchange(1));
        for _ in 0..n {
            let connection = self.made % self.connections;
            let nth = u64::try_from(self.made / self.connections)?;
            let code = 200 + (self.made / self.services.max(1)) % self.codes;
            for one in &self.exchange {
                let start = memory.len();
                self.now += 1_000;
                let mut header = one.header;
                header.conn_id = u64::try_from(connection)? + 1;
                (header.ts_ns, header.other_ts_ns) = (self.now, self.now.saturating_sub(1_000));
                header.turn += u32::try_from(2 * nth)?;
                let (own, other) = if one.header.turn == 0 { (asked, answered) } else { (answered, asked) };
                header.offset += nth * own;
                header.other_offset += nth * other;
                header.rport = u16::try_from(1_024 + connection % 60_000)?;
                header.comm = *b"service-00000000";
                let service = format!("{:08}", connection % self.services.max(1));
                header.comm.iter_mut().skip(8).zip(service.bytes()).for_each(|(to, from)| *to = from);
                header.cgroup_id = u64::try_from(connection % self.services.max(1))? + 1;
                memory.extend_from_slice(header.as_bytes());
                memory.extend_from_slice(&one.payload);
                if one.payload.starts_with(b"HTTP/1.1 ") {
                    let digits = code.to_string();
                    let place = memory.get_mut(start + size_of::<EventHeader>() + 9..).unwrap_or_default();
                    place.iter_mut().zip(digits.bytes()).for_each(|(to, from)| *to = from);
                }
                let span = Span { start: u32::try_from(start)?, len: u32::try_from(memory.len() - start)? };
                records.push((span, Nanos(self.now)));
            }
            self.made += 1;
        }
        Ok(Events::made(memory, records))
    }
}

/// The nine stages at one size.
struct Bench {
    maker: Maker,
    floor: Floor,
    spent: Vec<u64>,
    events: u64,
}

impl Bench {
    fn new(size: &Size) -> Result<Self> {
        let mut bench = Self { maker: Maker::new(size)?, floor: Floor::default(), spent: Vec::new(), events: 0 };
        // Every connection and every series once, then a second in which `join` gives up waiting for its other ends, and once
        // more.
        for _ in 0..2 {
            let events = bench.maker.next(size.connections.max(size.series))?;
            bench.floor.feed::<false>(events.source());
            bench.maker.now += 1_000_000_000;
        }
        Ok(bench)
    }

    fn round(&mut self) -> Result<()> {
        let events = self.maker.next(EXCHANGES)?;
        let (_, Spent { cpu, .. }) = measure(|| self.floor.feed::<false>(events.source()));
        self.events = u64::try_from(events.len())?;
        self.spent.push(cpu);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let mut benches = SIZES.iter().map(Bench::new).collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        benches.iter_mut().try_for_each(Bench::round)?;
    }
    println!("{:28} {:>12} {:>10}", "", "cpu ns/event", "x the first");
    let mut first = None;
    for (size, bench) in SIZES.iter().zip(benches) {
        let each = median(bench.spent.clone()) as f64 / bench.events as f64;
        let base = *first.get_or_insert(each);
        println!("{:28} {each:>12.1} {:>10.2}", size.name, each / base);
        let done = bench.floor.finish(Nanos(bench.maker.now));
        let made = u64::try_from(bench.maker.made)?;
        ensure!(done.series >= size.series, "{}: {} series", size.name, done.series);
        ensure!(done.exchanges == made, "{}: {} exchanges of {made}", size.name, done.exchanges);
    }
    Ok(())
}
