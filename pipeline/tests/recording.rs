//! Recordings: what was written is read, whatever was cut off is reported with its place, and nothing before it is lost.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use proptest::prelude::*;
use redtap::recording::{FILE_HEADER, RecordingError, RecordingReader, RecordingWriter};
use redtap::source::{Filled, Lease, Source};
use redtap_captures::records::{MAX_RECORD, Next, Records};
use redtap_stages::abi;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::stage::Batch;
use std::io::Cursor;

/// Real events of nginx, curl, redis-server, redis-cli, dnsmasq and dig.
const MIXED: &[u8] = include_bytes!("data/mixed.redtapev");
const RECORDS: usize = 170;

/// All records, and why there are no more.
fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Option<String>), RecordingError> {
    let mut reader = RecordingReader::new(Cursor::new(bytes.to_vec()))?;
    let failure = reader.failure();
    let mut records = Vec::new();
    let mut memory = Vec::new();
    while reader.next_record(&mut memory) == Next::Record {
        records.push(std::mem::take(&mut memory));
    }
    Ok((records, failure.get().map(ToString::to_string)))
}

fn write(records: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = RecordingWriter::new(Vec::new(), -5).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap()
}

#[test]
fn reads_a_recording_of_real_events_and_writes_it_again_to_the_byte() {
    let (records, failure) = read(MIXED).unwrap();
    assert_eq!((records.len(), failure), (RECORDS, None));
    let offset = RecordingReader::new(Cursor::new(MIXED)).unwrap().wall_offset_ns();
    let mut writer = RecordingWriter::new(Vec::new(), offset).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    assert_eq!(writer.records(), RECORDS as u64);
    assert!(writer.finish().unwrap() == MIXED);
}

#[test]
fn keeps_every_whole_record_before_any_cut() {
    let (records, _) = read(MIXED).unwrap();
    let mut begin = FILE_HEADER;
    for (number, record) in records.iter().take(12).enumerate() {
        let end = begin + 4 + record.len();
        for cut in begin..=end {
            let (found, failure) = read(&MIXED[..cut]).unwrap();
            let whole = number + usize::from(cut == end);
            assert_eq!(found.len(), whole, "cut at {cut}");
            let clean = cut == begin || cut == end;
            let told = format!("the file ends in the middle of a record that begins at byte {begin}");
            assert_eq!(failure, (!clean).then_some(told), "cut at {cut}");
        }
        begin = end;
    }
}

#[test]
fn says_what_is_wrong_with_a_file_that_is_no_recording_for_us() {
    let with = |place: usize, bytes: &[u8]| {
        let mut file = write(&[]);
        file[place..place + bytes.len()].copy_from_slice(bytes);
        read(&file).unwrap_err().to_string()
    };
    assert_eq!(read(b"").unwrap_err().to_string(), "not a recording: it does not begin with `redtapev`");
    assert_eq!(with(0, b"pcapng"), "not a recording: it does not begin with `redtapev`");
    assert_eq!(with(8, &0x0403_0201_u32.to_ne_bytes()), "recorded on a machine of another byte order");
    let version =
        format!("the file has layout 7 and records of version {0}; this redtap reads 1 and {0}", abi::VERSION);
    assert_eq!(with(12, &7_u16.to_ne_bytes()), version);
    assert!(matches!(read(&write(&[])[..FILE_HEADER - 1]), Err(RecordingError::NotARecording)));
}

#[test]
fn refuses_lengths_that_no_record_has_where_they_stand() {
    let mut file = write(&[vec![0; abi::HEADER_LEN]]);
    let place = file.len();
    file.extend_from_slice(&u32::MAX.to_ne_bytes());
    let (records, failure) = read(&file).unwrap();
    assert_eq!(records.len(), 1);
    assert!(failure.unwrap().starts_with(&format!("a record of 4294967295 bytes at byte {place};")));
    for length in [0, abi::HEADER_LEN - 1, MAX_RECORD + 1] {
        let mut writer = RecordingWriter::new(Vec::new(), 0).unwrap();
        assert!(matches!(writer.write(&vec![0; length]), Err(RecordingError::Length { offset: 32, .. })), "{length}");
    }
}

#[test]
fn copies_what_a_source_gives() {
    let mut source = RecordingReader::new(Cursor::new(MIXED)).unwrap().into_source();
    let mut writer = RecordingWriter::new(Vec::new(), 0).unwrap();
    writer.copy(&mut source, || false).unwrap();
    assert_eq!(read(&writer.finish().unwrap()).unwrap().0, read(MIXED).unwrap().0);
}

proptest! {
    /// Whatever is in a file: reading it ends, and what it gives are records.
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..2_000), headed in any::<bool>()) {
        let mut file = if headed { write(&[]) } else { Vec::new() };
        file.extend(bytes);
        if let Ok((records, _)) = read(&file) {
            prop_assert!(records.iter().all(|record| (abi::HEADER_LEN..=MAX_RECORD).contains(&record.len())));
        }
    }

    /// What is written is read.
    #[test]
    fn reads_what_was_written(records in prop::collection::vec(
        prop::collection::vec(any::<u8>(), abi::HEADER_LEN..600), 0..40)
    ) {
        prop_assert_eq!(read(&write(&records)).unwrap(), (records, None));
    }

    /// Any stamps at all: the source gives every record, in order, in bounded steps.
    #[test]
    fn a_source_gives_every_record_whatever_its_stamp(stamps in prop::collection::vec(any::<u64>(), 0..40)) {
        let records: Vec<_> = stamps.iter().map(|stamp| {
            let mut record = vec![0; abi::HEADER_LEN];
            record[24..32].copy_from_slice(&stamp.to_ne_bytes());
            record
        }).collect();
        let mut source = RecordingReader::new(Cursor::new(write(&records))).unwrap().into_source();
        let (mut batch, mut given, mut last) = (EventBatch::<Lease>::default(), Vec::new(), 0);
        for _ in 0..200_000 {
            let now = match source.fill(&mut batch) {
                Filled::Records(now) | Filled::Time(now) => now.0,
                Filled::Nothing(_) => panic!("a recording has something, or ends"),
                Filled::End(_) => break,
            };
            prop_assert!(now >= last);
            last = now;
            let memory = batch.memory.as_ref().map(AsRef::as_ref).unwrap_or_default();
            given.extend(batch.records.iter().map(|span| span.of(memory).to_vec()));
            batch.recycle();
        }
        prop_assert_eq!(given, records);
    }
}
