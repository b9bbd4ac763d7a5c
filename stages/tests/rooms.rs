//! No module but the protocols' own rooms, and the one list in `parse/state.rs`, names a protocol.

use redtap_stages::protocols::Protocol;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn stages_read_the_table_and_name_no_protocol() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    let outside = |path: &&PathBuf| !path.starts_with(src.join("protocols")) && **path != src.join("protocols.rs");
    let others: Vec<_> = found.iter().filter(outside).collect();
    assert!(others.len() > 40, "the stages are here");
    for protocol in Protocol::ALL {
        let variant = format!("Protocol::{protocol:?}");
        let room = format!("protocols::{protocol:?}").to_lowercase();
        for path in &others {
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            assert!(!code.contains(&variant), "{} names {variant}: what it asks belongs into Traits", path.display());
            let list = path.ends_with("parse/state.rs") && protocol.carrier() == *protocol;
            assert_eq!(code.contains(&room), list, "{} and {room}", path.display());
        }
    }
}

#[test]
fn every_protocol_has_its_room_and_its_traits_file() {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocols");
    for protocol in Protocol::ALL {
        let room = format!("{protocol:?}").to_lowercase();
        assert!(rooms.join(&room).with_extension("rs").is_file(), "{room}");
        assert!(rooms.join(&room).join("traits.rs").is_file(), "{room}");
    }
}
