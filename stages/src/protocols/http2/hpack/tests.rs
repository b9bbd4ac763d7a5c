//! HPACK against the examples of its specification, and against another implementation.

use super::*;
use proptest::prelude::*;

/// All fields of a block, with what is kept of them.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Read(Vec<(Name, String)>);

impl Fields for Read {
    fn field(&mut self, name: Name, value: &[u8], _whole: bool) {
        self.0.push((name, String::from_utf8_lossy(value).into_owned()));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn block(decoder: &mut Decoder, block: &[u8], size: usize) -> Result<Read, Malformed> {
    let mut read = Read::default();
    for piece in block.chunks(size) {
        decoder.feed(piece, &mut read)?;
    }
    assert!(decoder.end());
    Ok(read)
}

fn of_interest(pairs: &[(Name, &str)]) -> Read {
    Read(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

/// Appendix C.3 and C.4: three requests on one connection, without and with Huffman code; the table behind each.
#[test]
fn reads_the_requests_of_the_specification() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    use Name::{Method, Other, Path, Pseudo};
    let get = |path| [(Method, "GET"), (Pseudo, ""), (Path, path), (Pseudo, "")];
    for blocks in [plain, coded] {
        for size in [1, 3, 100] {
            let mut decoder = Decoder::default();
            decoder.begin();
            let mut said = Vec::new();
            for hex in blocks {
                let read = block(&mut decoder, &bytes(hex), size).unwrap();
                said.push((read, decoder.table.shape()));
            }
            assert_eq!(said[0], (of_interest(&get("/")), (1, 57)));
            assert_eq!(said[1], (of_interest(&[&get("/")[..], &[(Other, "")]].concat()), (2, 110)));
            assert_eq!(said[2], (of_interest(&[&get("/index.html")[..], &[(Other, "")]].concat()), (3, 164)));
        }
    }
}

/// Appendix C.5 and C.6: three answers, with a table of 256 bytes that has to let entries go.
#[test]
fn reads_the_answers_of_the_specification() {
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        decoder.begin();
        decoder.table.resize(256);
        let mut said = Vec::new();
        for hex in blocks {
            let read = block(&mut decoder, &bytes(hex), 5).unwrap();
            said.push((read.0[0].clone(), read.0.len(), decoder.table.shape()));
        }
        assert_eq!(said[0], ((Name::Status, "302".into()), 4, (4, 222)));
        assert_eq!(said[1], ((Name::Status, "307".into()), 4, (4, 222)));
        assert_eq!(said[2], ((Name::Status, "200".into()), 6, (3, 215)));
    }
}

/// Appendix C.1: integers.
#[test]
fn reads_integers_of_the_specification_and_refuses_endless_ones() {
    let mut integer = Integer::default();
    assert!(integer.begin(0x0a, 5) && integer.value == 10);
    assert!(!integer.begin(0x1f, 5));
    assert_eq!((integer.more(0x9a), integer.more(0x0a), integer.value), (Ok(false), Ok(true), 1337));
    assert!(integer.begin(0x2a, 8) && integer.value == 42);
    for endless in [&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]] {
        let mut decoder = Decoder::default();
        assert!(decoder.feed(endless, &mut Read::default()).is_err(), "{endless:?}");
    }
}

#[test]
fn what_it_did_not_see_is_unknown_and_what_came_since_is_not() {
    let mut decoder = Decoder::default();
    // :path /a, then the newest entry, then one older than was seen.
    let read = block(&mut decoder, &bytes("44022f61 be bf"), 2).unwrap();
    assert_eq!(read, of_interest(&[(Name::Path, "/a"), (Name::Path, "/a"), (Name::Unseen, "")]));
    // A literal whose name is in an entry that was not seen, inserted; then by its index.
    let read = block(&mut decoder, &bytes("7f00 0178 be bf"), 2).unwrap();
    assert_eq!(read, of_interest(&[(Name::Unknown, ""), (Name::Unknown, ""), (Name::Path, "/a")]));
    decoder.forget();
    assert_eq!(
        block(&mut decoder, &bytes("be 88"), 1).unwrap(),
        of_interest(&[(Name::Unseen, ""), (Name::Status, "200")])
    );
}

#[test]
fn refuses_what_is_no_field() {
    for (hex, field) in [("80", "index"), ("0081 ff", "string"), ("0084 ffffffff", "string")] {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&bytes(hex), &mut Read::default()).unwrap_err().field, field, "{hex}");
    }
    let mut decoder = Decoder::default();
    decoder.feed(&bytes("4401"), &mut Read::default()).unwrap();
    assert!(!decoder.end(), "within a field");
}

/// Names that are of interest, and some that are not.
const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":status",
    "content-type",
    "content-types",
    "grpc-status",
    "grpc-status-details-bin",
    "grpc-status-details-bins",
    "grpc-message",
    ":authority",
    "x-a",
    "cookie",
];

fn kept(name: &str, value: &str) -> (Name, String) {
    let name = Name::of(name.as_bytes(), name.len() as u32);
    (name, value.chars().take(name.kept()).collect())
}

proptest! {
    /// `loona-hpack` writes blocks over one connection; sizes of the table change between them.
    #[test]
    fn reads_what_another_encoder_wrote(
        blocks in proptest::collection::vec(
            (proptest::collection::vec((0..NAMES.len(), "[ -~]{0,40}"), 1..12), proptest::option::of(0_usize..6_000)), 1..20),
        size in 1_usize..30,
    ) {
        let mut encoder = loona_hpack::Encoder::new();
        let (mut ours, mut theirs) = (Decoder::default(), loona_hpack::Decoder::new());
        ours.begin();
        for (fields, resize) in blocks {
            if let Some(size) = resize {
                encoder.set_max_table_size(size);
            }
            let pairs: Vec<_> = fields.iter().map(|(name, value)| (NAMES[*name].as_bytes(), value.as_bytes())).collect();
            let mut bytes = Vec::new();
            encoder.encode_into(pairs.iter().copied(), &mut bytes).unwrap();
            let want: Vec<_> = fields.iter().map(|(name, value)| kept(NAMES[*name], value)).collect();
            prop_assert_eq!(block(&mut ours, &bytes, size).unwrap().0, want);
            let _ = theirs.decode(&bytes);
        }
    }

    /// Whatever the bytes: where the other decoder reads them, this one reads the same; pieces make no difference.
    #[test]
    fn agrees_with_another_decoder_about_any_bytes(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80_u8..0xc4, 0x40_u8..0x60, 0_u8..8], 0..60),
        size in 1_usize..20,
    ) {
        let whole = {
            let mut read = Read::default();
            let mut decoder = Decoder::default();
            decoder.begin();
            decoder.feed(&bytes, &mut read).map(|()| (decoder.end(), read))
        };
        let mut read = Read::default();
        let mut decoder = Decoder::default();
        decoder.begin();
        let fed = bytes.chunks(size).try_for_each(|piece| decoder.feed(piece, &mut read));
        prop_assert_eq!(whole.clone().ok(), fed.ok().map(|()| (decoder.end(), read)));
        if let Ok(theirs) = loona_hpack::Decoder::new().decode(&bytes) {
            let want: Vec<_> = theirs.iter().map(|(name, value)| {
                let name = Name::of(&name[..name.len().min(Name::LONGEST)], name.len() as u32);
                (name, String::from_utf8_lossy(&value[..value.len().min(name.kept())]).into_owned())
            }).collect();
            let Ok((true, ours)) = whole else { return Err(TestCaseError::fail(format!("refused: {theirs:?}"))) };
            prop_assert_eq!(ours.0, want);
        }
    }
}
