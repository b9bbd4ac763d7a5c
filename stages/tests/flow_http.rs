//! From records to exchanges with the real stages between: HTTP/1 conversations through the model of the kernel.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support outside of tests")]

#[path = "flow/kernel.rs"]
mod kernel;
#[path = "flow/records.rs"]
mod records;

use kernel::Kernel;
use proptest::prelude::*;
use records::{Bytes, SERVER, TCP};
use redtap_stages::abi;
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::flow::conn::Direction;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::identify::Identify;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;

/// decode, identify, parse, pair.
struct Chain {
    decode: Decode<Bytes>,
    identify: Identify<Bytes>,
    parse: Parse<Bytes>,
    pair: Pair,
    out: Vec<Exchange>,
}

impl Chain {
    fn new() -> Self {
        Self {
            decode: Decode::new(DecodeSettings::default()),
            identify: Identify::new(),
            parse: Parse::new(),
            pair: Pair::new(PairSettings::default()),
            out: Vec::new(),
        }
    }

    fn give(&mut self, kernel: &mut Kernel) {
        let mut batch = EventBatch::default();
        kernel.drain(&mut batch);
        let (mut decoded, mut identified) = (SegmentBatch::default(), SegmentBatch::default());
        let mut messages = MessageBatch::default();
        self.decode.process(Nanos(1), &mut batch, &mut decoded);
        self.identify.process(Nanos(1), &mut decoded, &mut identified);
        self.parse.process(Nanos(1), &mut identified, &mut messages);
        self.pair.process(Nanos(1), &mut messages, &mut self.out);
        messages.recycle();
        assert!(self.pair.account().balances());
    }
}

/// One exchange on the wire: body sizes, how each side cuts what it writes, what is refused of it, and a drain after it.
#[derive(Debug, Clone)]
struct Talk {
    upload: Option<usize>,
    download: usize,
    chunked: bool,
    cuts: (usize, usize),
    refuse: (u8, u8),
    drain: bool,
}

fn talk(refusals: bool) -> impl Strategy<Value = Talk> {
    let refuse = move || {
        if refusals { prop_oneof![3 => Just(0_u8), 1 => Just(1), 1 => any::<u8>()].boxed() } else { Just(0).boxed() }
    };
    let sizes = (proptest::option::of(0_usize..2_000), 0_usize..5_000, any::<bool>());
    (sizes, (1_usize..3_000, 1_usize..6_000), (refuse(), refuse()), any::<bool>()).prop_map(
        |((upload, download, chunked), cuts, refuse, drain)| Talk { upload, download, chunked, cuts, refuse, drain },
    )
}

fn request(nth: usize, talk: &Talk) -> Vec<u8> {
    match talk.upload {
        None => format!("GET /item/{nth} HTTP/1.1\r\nHost: shop\r\n\r\n").into_bytes(),
        Some(size) => {
            let head = format!("POST /item/{nth} HTTP/1.1\r\nHost: shop\r\nContent-Length: {size}\r\n\r\n");
            [head.into_bytes(), vec![b'u'; size]].concat()
        }
    }
}

fn response(nth: usize, talk: &Talk) -> Vec<u8> {
    let code = 200 + nth;
    if talk.chunked && talk.download > 0 {
        let head = format!("HTTP/1.1 {code} OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", talk.download);
        [head.into_bytes(), vec![b'd'; talk.download], b"\r\n0\r\n\r\n".to_vec()].concat()
    } else {
        let head = format!("HTTP/1.1 {code} OK\r\nContent-Length: {}\r\n\r\n", talk.download);
        [head.into_bytes(), vec![b'd'; talk.download]].concat()
    }
}

fn play(talks: &[Talk], budget: u32) -> (Kernel, Chain) {
    let mut kernel = Kernel::new(1, SERVER, TCP, budget, 4_096);
    let mut chain = Chain::new();
    for (nth, talk) in talks.iter().enumerate() {
        let sides = [
            (Direction::Ingress, request(nth, talk), talk.cuts.0, talk.refuse.0),
            (Direction::Egress, response(nth, talk), talk.cuts.1, talk.refuse.1),
        ];
        for (direction, bytes, cut, refuse) in sides {
            for (at, piece) in bytes.chunks(cut).enumerate() {
                kernel.operation(direction, piece, refuse >> at.min(7) & 1);
            }
        }
        if talk.drain {
            chain.give(&mut kernel);
        }
    }
    kernel.close(abi::reason::FIN, false);
    chain.give(&mut kernel);
    (kernel, chain)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every request is reported with its own status, size and times, whatever is captured of the bodies.
    #[test]
    fn every_exchange_is_reported_with_its_own_answer(talks in prop::collection::vec(talk(false), 1..12)) {
        let (kernel, chain) = play(&talks, 1_024);
        prop_assert_eq!(chain.pair.account().missed, 0);
        prop_assert_eq!(chain.out.len(), talks.len());
        for (nth, (exchange, talk)) in chain.out.iter().zip(&talks).enumerate() {
            let [asked, answered] = [kernel.turns[2 * nth], kernel.turns[2 * nth + 1]];
            prop_assert_eq!(exchange.target.as_str(), format!("/item/{nth}"));
            prop_assert_eq!(exchange.code.as_str(), (200 + nth).to_string());
            prop_assert_eq!((exchange.start.0, exchange.answered.map(|at| at.0)), (asked.first, Some(answered.first)));
            if nth + 1 < talks.len() {
                prop_assert_eq!(exchange.end.map(|at| at.0), Some(answered.last), "{:?}", talk);
            }
        }
    }

    /// Whatever is refused, reported and missed are all there were.
    #[test]
    fn reported_and_missed_are_all_requests(talks in prop::collection::vec(talk(true), 1..12)) {
        let (_, chain) = play(&talks, 1_024);
        let account = chain.pair.account();
        prop_assert_eq!(
            account.reported + account.missed + account.missed_unidentified, talks.len() as u64,
            "{:?} {:#?}", account, chain.out
        );
    }
}
