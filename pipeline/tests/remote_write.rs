//! Remote write's rules for senders, one by one, held against a receiver that says what no real one says when asked to:
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>. What real receivers store is shown in
//! `e2e/tests/remote_write.rs`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use redtap::clock;
use redtap::export::OwnSample;
use redtap::export::{AccountTotals, Exporters, Gather, Gathered, remote_write};
use redtap::settings::{RemoteWriteSettings, Sources, load};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// One request as it came.
struct Asked {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    at: Duration,
}

impl Asked {
    fn version(&self) -> &str {
        &self.headers["x-prometheus-remote-write-version"]
    }
}

fn now() -> Duration {
    Duration::from_nanos(clock::monotonic().0)
}

/// Answers each request by what `answer` makes of it and its number; tells of each.
fn receiver(answer: impl Fn(usize, &Asked) -> String + Send + Sync + 'static) -> (u16, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, asked) = mpsc::channel();
    let answer = Arc::new((answer, AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (told, answer) = (told.clone(), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                while let Some(request) = read(&mut stream) {
                    let number = usize::try_from(answer.1.fetch_add(1, Ordering::SeqCst)).unwrap();
                    let answer = format!("HTTP/1.1 {}", (answer.0)(number, &request));
                    if told.send(request).is_err() || stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, asked)
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert_eq!(line, "POST /api/v1/write HTTP/1.1\r\n");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        assert!(headers.insert(name.to_lowercase(), value.to_owned()).is_none(), "{name} twice");
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { headers, body, at: now() })
}

const OK_2_0: &str = "204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 1\r\n\r\n";
const OK_1_0: &str = "204 No Content\r\n\r\n";

fn refusal(status: &str) -> String {
    format!("{status}\r\ncontent-length: 2\r\n\r\nno")
}

const START_MS: i64 = 1_700_000_000_000;

/// What there is to send: one sample.
fn at(at_ms: i64, value: f64) -> Gathered {
    let own = vec![OwnSample { name: "redtap_series".into(), labels: Vec::new(), counter: false, value }];
    Gathered { at_ms, own, ..Gathered::default() }
}

/// One sample a gathering, another one each time, a second later than the one before, also that of another agent.
struct OneSample(AtomicU64);

/// The seconds of all agents of this process.
static SECONDS: AtomicI64 = AtomicI64::new(0);

impl Gather for OneSample {
    fn gather(&self) -> Gathered {
        let value = self.0.fetch_add(1, Ordering::Relaxed) as f64;
        at(START_MS + SECONDS.fetch_add(1, Ordering::Relaxed) * 1_000, value)
    }
}

fn settings(port: u16, further: &str) -> RemoteWriteSettings {
    read_settings(port, further).unwrap()
}

fn read_settings(port: u16, further: &str) -> Result<RemoteWriteSettings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redtap.toml");
    // After the first samples only the end brings more, unless it is said otherwise.
    let interval = if further.contains("interval") { "" } else { "interval = \"1h\"\n" };
    let text = format!("[remote_write]\nurl = \"http://127.0.0.1:{port}/api/v1/write\"\n{interval}{further}\n");
    std::fs::write(&file, text).unwrap();
    let loaded = load(&Sources { file: Some(file), ..Sources::default() }).map_err(|error| error.to_string())?;
    Ok(loaded.settings.remote_write.unwrap())
}

fn start(port: u16, further: &str) -> Exporters {
    let gather = Arc::new(OneSample(AtomicU64::new(0)));
    Exporters::start(vec![remote_write::exporter(&settings(port, further), gather).unwrap()]).unwrap()
}

fn next(asked: &mpsc::Receiver<Asked>) -> Asked {
    asked.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// Ends it, and gives what it counted in all.
fn end(exporters: Exporters) -> AccountTotals {
    let account = Arc::clone(&exporters.accounts()[0]);
    exporters.stop(Duration::from_secs(20));
    let totals = account.totals();
    assert_eq!(totals.gathered, totals.delivered + totals.undelivered.iter().sum::<u64>() + totals.pending);
    totals
}

#[test]
fn a_request_of_2_0_has_the_headers_that_the_specification_asks_for() {
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let exporters = start(port, "bearer_token = \"abc\"\n[remote_write.headers]\nX-Scope-OrgID = \"me\"");
    let first = next(&asked);
    for (name, value) in [
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "2.0.0"),
        ("user-agent", concat!("redtap/", env!("CARGO_PKG_VERSION"))),
        ("authorization", "Bearer abc"),
        ("x-scope-orgid", "me"),
    ] {
        assert_eq!(first.headers[name], value);
    }
    // At the end: the last sample and the marker that the series ended, in that order.
    let totals = end(exporters);
    assert_eq!((totals.gathered, totals.delivered, totals.retries), (3, 3, 0));
    let bodies = [next(&asked).body, next(&asked).body];
    let stale = 0x7ff0_0000_0000_0002_u64.to_le_bytes();
    let holds = |body: &[u8]| {
        let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        plain.windows(8).any(|bytes| bytes == stale)
    };
    assert_eq!(bodies.map(|body| holds(&body)), [false, true]);
}

#[test]
fn reserved_headers_cannot_be_configured() {
    for name in ["Content-Encoding", "content-type", "User-Agent", "X-Prometheus-Remote-Write-Version"] {
        let refused = read_settings(1, &format!("[remote_write.headers]\n{name} = \"1\"")).unwrap_err();
        assert!(refused.contains("redtap makes itself"), "{refused}");
    }
}

#[test]
fn a_receiver_that_only_knows_1_0_gets_the_same_samples_once() {
    for answer in ["415 Unsupported Media Type", "400 Bad Request", "204 No Content"] {
        let (port, asked) = receiver(move |_, asked| match (asked.version(), answer) {
            ("2.0.0", "204 No Content") => OK_1_0.to_owned(),
            ("2.0.0", answer) => refusal(answer),
            _ => OK_1_0.to_owned(),
        });
        let exporters = start(port, "");
        assert_eq!(next(&asked).version(), "2.0.0");
        let second = next(&asked);
        assert_eq!((second.version(), second.headers["content-type"].as_str()), ("0.1.0", "application/x-protobuf"));
        let totals = end(exporters);
        // Two more at the end, and 2.0 is not tried again.
        assert_eq!((totals.delivered, totals.undelivered, totals.pending), (3, [0; 7], 0), "{answer}");
        let rest: Vec<Asked> = asked.try_iter().collect();
        assert!(rest.len() == 2 && rest.iter().all(|asked| asked.version() == "0.1.0"), "{answer}");
    }
}

#[test]
fn what_may_work_later_is_sent_again_as_it_was_after_the_time_that_was_asked_for() {
    let (port, asked) = receiver(|number, _| match number {
        0 => "429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n".to_owned(),
        1 => refusal("503 Service Unavailable"),
        2 => refusal("500 Internal Server Error"),
        _ => OK_2_0.to_owned(),
    });
    let exporters = start(port, "");
    let four = [next(&asked), next(&asked), next(&asked), next(&asked)];
    assert!(four.iter().all(|asked| asked.body == four[0].body && asked.version() == "2.0.0"));
    // In full, and then some: jitter is on top. The shortest wait without being told is 250 ms.
    let waits: Vec<Duration> = four.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits[0] >= Duration::from_millis(1_250), "{waits:?}");
    assert!(waits[1..].iter().all(|wait| *wait >= Duration::from_millis(250)), "{waits:?}");
    let totals = end(exporters);
    assert_eq!((totals.delivered, totals.retries, totals.undelivered), (3, 3, [0; 7]));
}

#[test]
fn what_is_refused_for_good_is_not_sent_again() {
    for status in ["401 Unauthorized", "404 Not Found", "413 Content Too Large", "307 Temporary Redirect"] {
        let (port, asked) = receiver(move |_, _| refusal(status));
        let exporters = start(port, "");
        next(&asked);
        let totals = end(exporters);
        assert_eq!((totals.delivered, totals.undelivered, totals.retries), (0, [3, 0, 0, 0, 0, 0, 0], 0), "{status}");
        assert_eq!(asked.try_iter().count(), 2, "{status}");
    }
}

#[test]
fn at_the_end_there_is_one_last_try_and_what_is_in_memory_is_counted() {
    let (port, asked) = receiver(|_, _| refusal("503 Service Unavailable"));
    let exporters = start(port, "");
    next(&asked);
    let totals = end(exporters);
    assert_eq!((totals.delivered, totals.undelivered, totals.pending), (0, [0, 0, 3, 0, 0, 0, 0], 0));
}

#[test]
fn what_is_on_disk_is_sent_by_the_next_agent_before_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let spool = format!("spool = \"{}\"", folder.path().join("spool").display());
    let (port, asked) = receiver(|_, _| refusal("503 Service Unavailable"));
    let exporters = start(port, &spool);
    let kept = next(&asked).body;
    let totals = end(exporters);
    assert_eq!((totals.delivered, totals.undelivered, totals.pending), (0, [0; 7], 3));
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let exporters = start(port, &spool);
    assert!(next(&asked).body == kept, "the oldest comes first, as it was");
    let totals = end(exporters);
    // Three of the first life; of the second two at its end, and one at its beginning unless it is asked to end before that.
    assert!((5..=6).contains(&totals.gathered), "{totals:?}");
    assert_eq!((totals.delivered, totals.pending), (totals.gathered, 0));
    let files = std::fs::read_dir(folder.path().join("spool")).unwrap();
    let left: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains(".new")), "{left:?}");
    // Nothing comes a third time: of this life there are two or three, as it is asked to end before or after its beginning.
    let exporters = start(port, &spool);
    let totals = end(exporters);
    assert!(totals.gathered <= 3 && totals.delivered == totals.gathered, "{totals:?}");
    drop(asked);
}

/// A wall clock that says one thing after the other, the last for good; so many at most, until more may be asked for.
struct Clock(Vec<i64>, AtomicU64, Arc<AtomicU64>);

impl Clock {
    fn new(times: Vec<i64>) -> Arc<Self> {
        Arc::new(Self(times, AtomicU64::new(0), Arc::new(AtomicU64::new(u64::MAX))))
    }
}

impl Gather for Clock {
    fn gather(&self) -> Gathered {
        let number = usize::try_from(self.1.fetch_add(1, Ordering::Relaxed)).unwrap();
        while number as u64 >= self.2.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Not 0, which would not be written.
        at(self.0[number.min(self.0.len() - 1)], number as f64 + 1.0)
    }
}

fn await_within_20_s(done: impl Fn() -> bool) {
    let comes = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        done()
    });
    assert!(comes, "not within 20 s");
}

/// The time of the one sample of a request of 2.0: fields 5 (series), 2 (sample), 2 (time) as varint.
fn time_of(asked: &Asked) -> i64 {
    let plain = snap::raw::Decoder::new().decompress_vec(&asked.body).unwrap();
    let varint = |at: usize| {
        let bytes =
            plain[at..].iter().take(10).scan(true, |more, byte| more.then(|| (*more = byte & 0x80 != 0, *byte).1));
        bytes.enumerate().fold(0_i64, |sum, (place, byte)| sum | i64::from(byte & 0x7f) << (7 * place))
    };
    // A sample is a double and a time: tag 0x09, eight bytes, tag 0x10.
    let is_sample = |at: &usize| plain[*at] == 0x09 && plain.get(at + 9) == Some(&0x10);
    (0..plain.len()).find(is_sample).map(|at| varint(at + 10)).unwrap()
}

#[test]
fn what_a_clock_that_was_set_back_makes_older_is_counted_and_not_sent() {
    // Five minutes ahead for two rounds, then right; in the end past what was sent.
    let (ahead, right) = (START_MS + 300_000, START_MS);
    let clock = vec![ahead, ahead + 1_000, right + 2_000, right + 3_000, ahead + 4_000];
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let exporter = remote_write::exporter(&settings(port, "interval = \"1s\""), Clock::new(clock.clone()));
    let exporters = Exporters::start(vec![exporter.unwrap()]).unwrap();
    let three = [next(&asked), next(&asked), next(&asked)].each_ref().map(time_of);
    assert_eq!(three, [ahead, ahead + 1_000, ahead + 4_000]);
    let totals = end(exporters);
    assert_eq!(totals.undelivered, [0, 0, 0, 0, 0, 0, 2]);
    assert_eq!((totals.delivered, totals.pending), (totals.gathered - 2, 0));
    let rest: Vec<i64> = asked.try_iter().map(|asked| time_of(&asked)).collect();
    assert!(!rest.is_empty() && rest.iter().all(|time| *time > ahead + 4_000) && rest.is_sorted(), "{rest:?}");

    // A receiver that takes nothing from the future (Prometheus: ten minutes) has nothing that could be newer.
    let (port, asked) = receiver(move |_, asked| match time_of(asked) >= ahead {
        true => refusal("400 Bad Request"),
        false => OK_2_0.to_owned(),
    });
    let spoken = settings(port, "interval = \"1s\"\nprotocol = \"2.0\"");
    let times = Clock::new(clock[..4].to_vec());
    let allowed = Arc::clone(&times.2);
    allowed.store(2, Ordering::Relaxed);
    let exporters = Exporters::start(vec![remote_write::exporter(&spoken, times).unwrap()]).unwrap();
    let two = [next(&asked), next(&asked)];
    // The third is made once it is known that the receiver has none of them.
    let account = Arc::clone(&exporters.accounts()[0]);
    await_within_20_s(|| account.totals().undelivered[0] == 2);
    allowed.store(u64::MAX, Ordering::Relaxed);
    let [one, two] = two;
    let four = [one, two, next(&asked), next(&asked)].each_ref().map(time_of);
    assert_eq!(four, clock[..4]);
    let totals = end(exporters);
    assert_eq!((totals.undelivered, totals.delivered), ([2, 0, 0, 0, 0, 0, 0], totals.gathered - 2));
}

#[test]
fn a_clock_that_was_far_ahead_does_not_silence_it() {
    let ahead = START_MS + 86_400_000;
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let clock = Clock::new(vec![ahead, START_MS, START_MS + 1_000]);
    let exporter = remote_write::exporter(&settings(port, "interval = \"1s\""), clock);
    let exporters = Exporters::start(vec![exporter.unwrap()]).unwrap();
    let three = [next(&asked), next(&asked), next(&asked)].each_ref().map(time_of);
    assert_eq!(three, [ahead, START_MS, START_MS + 1_000], "from the day ahead on with its own time");
    assert_eq!(end(exporters).undelivered, [0; 7]);
}

#[test]
fn the_next_agent_does_not_go_back_behind_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("interval = \"1s\"\nspool = \"{}\"", folder.path().join("spool").display());
    let run = |port, clock: Vec<i64>| {
        let exporter = remote_write::exporter(&settings(port, &lines), Clock::new(clock));
        Exporters::start(vec![exporter.unwrap()]).unwrap()
    };
    let (port, asked) = receiver(|_, _| refusal("503 Service Unavailable"));
    let first = run(port, vec![START_MS + 60_000]);
    next(&asked);
    let kept = end(first).pending;
    assert!(kept >= 2, "a sample and a marker: {kept}");
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let second = run(port, vec![START_MS, START_MS + 1_000, START_MS + 90_000]);
    let account = Arc::clone(&second.accounts()[0]);
    let is_over = |totals: AccountTotals| totals.undelivered[6] == 2 && totals.pending == 0 && totals.delivered > kept;
    await_within_20_s(|| is_over(account.totals()));
    let totals = end(second);
    assert_eq!((totals.undelivered, totals.pending), ([0, 0, 0, 0, 0, 0, 2], 0));
    let times: Vec<i64> = asked.try_iter().map(|asked| time_of(&asked)).collect();
    assert!(times.is_sorted() && times[0] == START_MS + 60_000, "{times:?}");
}

#[test]
fn a_spool_that_hangs_holds_up_no_other_exporter_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    // Whoever opens a pipe to write to it waits until somebody reads: so does the agent, once it writes down what is delivered.
    let pipe = spool.join("position.new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (hanging_port, hanging) = receiver(|_, _| OK_2_0.to_owned());
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let exporter = |port, lines: &str| {
        let settings = settings(port, &format!("interval = \"1s\"\n{lines}"));
        remote_write::exporter(&settings, Arc::new(OneSample(AtomicU64::new(0)))).unwrap()
    };
    let kept = exporter(hanging_port, &format!("spool = \"{}\"\nshards = 3", spool.display()));
    let exporters = Exporters::start(vec![kept, exporter(port, "")]).unwrap();
    // The first is delivered; to write that down takes for ever.
    next(&hanging);
    for _ in 0..4 {
        next(&asked);
    }
    // Each but the last was counted before the next.
    assert!(exporters.accounts()[1].totals().delivered >= 3);
    assert!(hanging.try_recv().is_err(), "it hangs: else this shows nothing");
    // Somebody reads: all goes on, and nothing is lost or twice.
    let reader = std::thread::spawn(move || std::fs::read(pipe));
    next(&hanging);
    reader.join().unwrap().unwrap();
    let accounts = exporters.accounts().to_vec();
    exporters.stop(Duration::from_secs(20));
    for account in accounts {
        let totals = account.totals();
        assert_eq!((totals.delivered, totals.undelivered, totals.pending), (totals.gathered, [0; 7], 0), "{totals:?}");
        assert!(totals.gathered > 2);
    }
}

#[test]
fn the_end_does_not_wait_for_a_spool_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let pipe = spool.join("position.new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (port, asked) = receiver(|_, _| OK_2_0.to_owned());
    let exporters = start(port, &format!("spool = \"{}\"", spool.display()));
    next(&asked);
    let account = Arc::clone(&exporters.accounts()[0]);
    // It is counted, and written down at once, which takes for ever.
    await_within_20_s(|| account.totals().delivered == 1);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        exporters.stop(Duration::from_millis(500));
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(20)).expect("it does not wait for the disk");
    let totals = account.totals();
    assert_eq!((totals.delivered, totals.undelivered), (1, [0; 7]));
    // What waits is let go.
    std::fs::read(pipe).unwrap();
}
