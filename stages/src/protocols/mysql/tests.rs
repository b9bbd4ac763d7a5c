//! Tests of the protocol `mysql`: recordings of a real server with real clients, the shared laws, and what is cut.

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};

macro_rules! recording {
    ($name:literal) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mysql/", $name, ".rec")),
            Transport::Tcp,
        )
    };
}

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Mysql>::new(Transport::Tcp).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

/// What a pair stage would make of it: requests in order, each with the next answer.
fn paired(messages: &[Message]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut waiting = std::collections::VecDeque::new();
    for message in messages {
        let asked = format!("{} {}", message.method, message.target);
        match message.kind {
            MessageKind::Request if message.no_reply => out.push(format!("{} -", asked.trim_end())),
            MessageKind::Request => {
                waiting.push_back(out.len());
                out.push(asked.trim_end().to_owned());
            }
            MessageKind::Response => {
                let at = waiting.pop_front().expect("an answer has its request before it");
                let how = match message.status {
                    Status::Ok => "ok",
                    Status::Error => "error",
                    Status::Unknown => "unknown",
                };
                out[at] = format!("{} {how} {}", out[at], message.code).trim_end().to_owned();
            }
            MessageKind::OneWay => out.push(format!("pushed {}", message.code)),
            MessageKind::Interim => panic!("MySQL has none"),
        }
    }
    assert!(waiting.is_empty(), "unanswered: {waiting:?} of {out:?}");
    out
}

fn shown(conversation: &Conversation) -> Vec<String> {
    paired(&read(conversation))
}

/// One a client, with what it is good for.
fn clean() -> Vec<(&'static str, Conversation)> {
    macro_rules! all {
        ($($name:literal),*) => { vec![$(($name, recording!($name))),*] };
    }
    all![
        "cli",
        "pymysql",
        "multi",
        "infile",
        "connector",
        "mysqlclient",
        "wrong_password",
        "auth_switch",
        "c_connector",
        "too_many",
        "node",
        "go",
        "corners"
    ]
}

fn compressed() -> Vec<(&'static str, Conversation)> {
    vec![
        ("cli_compressed", recording!("cli_compressed")),
        ("mysqlclient_compressed", recording!("mysqlclient_compressed")),
        ("node_compressed", recording!("node_compressed")),
        ("go_compressed", recording!("go_compressed")),
    ]
}

fn context(port: u16) -> ProbeContext {
    ProbeContext { transport: Transport::Tcp, server_port: port, late: false }
}

#[test]
fn reads_what_the_cli_asked_and_how_the_server_answered() {
    assert_eq!(shown(&recording!("cli")), CLI);
}

#[test]
fn compression_changes_nothing_but_the_bytes() {
    assert_eq!(shown(&recording!("cli_compressed")), CLI);
    let plain = read(&recording!("mysqlclient"));
    let compressed = read(&recording!("mysqlclient_compressed"));
    assert_eq!(paired(&plain), paired(&compressed));
    let bytes = |messages: &[Message]| {
        messages.iter().filter(|message| message.method == "SELECT").map(|message| message.bytes).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&plain), bytes(&compressed), "bytes are those before compression");
    assert_eq!(shown(&recording!("node")), shown(&recording!("node_compressed")));
    assert_eq!(shown(&recording!("go")), shown(&recording!("go_compressed")));
}

#[test]
fn an_error_ends_a_procedure_and_a_row_of_statements() {
    assert_eq!(
        shown(&recording!("multi"))[3..],
        [
            "SELECT SELECT 1; UPDATE word SET w = w; SELECT 2, 3 UNION SELECT 4, 5; SELECT 6 WHERE 1 = 0 ok",
            "SELECT SELECT 1; SELECT nothing FROM nowhere; SELECT 2 error 1146",
            "SELECT SELECT 'after' ok",
            "QUIT -",
        ]
    );
    let shown = shown(&recording!("pymysql"));
    assert!(shown.contains(&"CALL CALL `twice`() ok".to_owned()), "{shown:?}");
    assert!(shown.contains(&"CALL CALL half() error 1146".to_owned()), "{shown:?}");
}

#[test]
fn an_error_behind_rows_is_known_when_it_was_captured() {
    let conversation = recording!("error_in_rows");
    assert_eq!(
        shown(&conversation)[3..],
        [
            "SELECT SELECT a, (SELECT b FROM two AS t WHERE t.a = two.a) FROM two error 1242",
            "SELECT SELECT 1 ok",
            "QUIT -",
        ]
    );
    laws::keeps_splits::<Mysql>(&conversation);
    laws::keeps_gaps::<Mysql>(&conversation, true);
}

#[test]
fn a_local_file_is_part_of_its_statement() {
    let shown = shown(&recording!("infile"));
    assert!(
        shown[3].starts_with("LOAD LOAD DATA LOCAL INFILE") && shown[3].ends_with("INTO TABLE word ok"),
        "{shown:?}"
    );
    assert!(shown[4].ends_with("INTO TABLE nowhere error 1146"), "{shown:?}");
    assert_eq!(shown[5..], ["SELECT SELECT COUNT(*) FROM word ok", "QUIT -"]);
}

#[test]
fn an_execute_shows_what_was_prepared() {
    const LOOK: &str = "SELECT id, name, made FROM item WHERE price > ?";
    let shown = shown(&recording!("connector"));
    assert_eq!(shown[4], format!("PREPARE {LOOK} ok"));
    assert_eq!(shown[5..11].iter().filter(|line| **line == format!("EXECUTE {LOOK} ok")).count(), 3);
    assert_eq!(shown[17], "PREPARE SELECT nothing FROM nowhere WHERE a = ? error 1146");
    assert!(shown.contains(&"STATISTICS ok".to_owned()) && shown.contains(&"DEBUG ok".to_owned()), "{shown:?}");
}

#[test]
fn reads_cursors_long_data_bulk_and_pipelined_executes() {
    assert_eq!(
        shown(&recording!("c_connector")),
        [
            "LOGIN ok",
            "PREPARE SELECT a FROM two ORDER BY a ok",
            "EXECUTE SELECT a FROM two ORDER BY a ok",
            "FETCH SELECT a FROM two ORDER BY a ok",
            "FETCH SELECT a FROM two ORDER BY a ok",
            "FETCH SELECT a FROM two ORDER BY a ok",
            "RESET ok",
            "CLOSE -",
            "PREPARE INSERT INTO item (name, note) VALUES ('long', ?) ok",
            "SEND_LONG_DATA -",
            "SEND_LONG_DATA -",
            "EXECUTE INSERT INTO item (name, note) VALUES ('long', ?) ok",
            "CLOSE -",
            "PREPARE INSERT INTO word VALUES (?) ok",
            "BULK_EXECUTE INSERT INTO word VALUES (?) ok",
            "CLOSE -",
            "PREPARE SELECT id, name FROM item ok",
            "EXECUTE SELECT id, name FROM item ok",
            "CLOSE -",
            "FIELD_LIST ok",
            "PROCESS_INFO ok",
            "SET_OPTION ok",
            "KILL KILL 99999999 error 1094",
            "CHANGE_USER ok",
            "SELECT SELECT USER() ok",
            "RESET_CONNECTION ok",
            "ALTER ALTER TABLE shop.two ENGINE=InnoDB ok",
            "QUIT -",
        ]
    );
}

#[test]
fn a_log_in_is_one_exchange_however_it_ends() {
    assert_eq!(shown(&recording!("wrong_password")), ["LOGIN error 1045"]);
    assert_eq!(shown(&recording!("auth_switch")), ["LOGIN ok", "SELECT SELECT USER() ok", "QUIT -"]);
    assert_eq!(shown(&recording!("too_many")), ["LOGIN error 1040"], "an error in place of the greeting");
}

#[test]
fn reads_commands_without_a_name_and_those_that_hardly_anybody_sends() {
    assert_eq!(
        shown(&recording!("corners"))[3..],
        [
            "INIT_DB error 1046",
            "QUERY error 1065",
            "PREPARE error 1065",
            "INIT_DB other ok",
            "REFRESH ok",
            "CREATE_DB error 1047",
            "DROP_DB error 1047",
            "PROCESS_KILL error 1094",
            "SET_OPTION ok",
            "SET_OPTION ok",
            "RESET error 1243",
            "EXECUTE error 1243",
            "FETCH error 1243",
            "FIELD_LIST error 1146",
            "DEBUG ok",
            "RESET_CONNECTION ok",
            "PING ok",
            "QUIT -",
        ]
    );
}

#[test]
fn requests_carry_user_and_database() {
    let sessions = |conversation: &Conversation, method: &str| -> Vec<(String, String)> {
        let of_method = |message: &&Message| message.method == method;
        let session = |message: &Message| {
            let session = message.session.clone().expect("a log-in was seen");
            (session.user.to_string(), session.namespace.to_string())
        };
        read(conversation).iter().filter(of_method).map(session).collect()
    };
    let shop = || ("shop".to_owned(), "shop".to_owned());
    let other = || ("shop".to_owned(), "other".to_owned());
    let pymysql = recording!("pymysql");
    assert_eq!(sessions(&pymysql, "LOGIN"), [shop()]);
    assert_eq!(sessions(&pymysql, "USE"), [shop()]);
    assert_eq!(sessions(&pymysql, "COMMIT"), [shop()], "a USE that failed changes nothing");
    assert_eq!(sessions(&pymysql, "INIT_DB"), [shop()]);
    assert_eq!(sessions(&pymysql, "QUIT"), [other()], "INIT_DB went well");
    assert_eq!(sessions(&recording!("c_connector"), "ALTER"), [("modern".to_owned(), "other".to_owned())]);
    let messages = read(&pymysql);
    let arcs: Vec<_> = messages.iter().filter(|m| m.method == "SELECT").filter_map(|m| m.session.as_ref()).collect();
    assert!(std::sync::Arc::ptr_eq(arcs[0], arcs[1]), "made once");
}

#[test]
fn tls_is_handed_over_behind_the_wish_for_it() {
    let drive = Drive::<Mysql>::new(Transport::Tcp).conversation(&recording!("encrypted"));
    assert_eq!(paired(&folded(&drive.out.0)), ["SSL_REQUEST -"]);
    let mut state = drive.state;
    let now = crate::time::Nanos(1);
    let context = Context {
        direction: Ingress,
        role: crate::flow::conn::Role::Client,
        transport: Transport::Tcp,
        start: now,
        at: now,
    };
    let step = Mysql::parse(&mut state, context, Input::Bytes(b"\x16\x03\x03"), &mut laws::Collected::default());
    assert_eq!(step, Step::HandOver(crate::protocols::Successor::Tls));
}

#[test]
fn long_sets_of_rows_and_long_statements_are_followed() {
    let messages = read(&recording!("large"));
    let answers: Vec<_> = messages.iter().filter(|message| message.kind == MessageKind::Response).collect();
    assert!(answers[3].bytes > 60_000 && answers[5].bytes > 70_000, "{answers:?}");
    let statement = messages
        .iter()
        .find(|message| message.kind == MessageKind::Request && message.bytes > 4_000)
        .expect("the long one");
    assert_eq!(statement.target.as_str().len(), crate::limits::MAX_TARGET);
    assert_eq!(shown(&recording!("large")).len(), 8);
    let moved: usize = recording!("large").turns.iter().skip(1).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(messages.iter().map(|message| message.bytes).sum::<u64>(), moved as u64, "all but the greeting");
}

/// Those that are short enough to be cut at every place.
fn short() -> impl Iterator<Item = (&'static str, Conversation)> {
    let len = |conversation: &Conversation| conversation.turns.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    clean().into_iter().filter(move |(_, conversation)| len(conversation) < 4_000)
}

#[test]
fn keeps_prefixes() {
    for (name, conversation) in short() {
        // The head of an answer cannot know of an error in its second result.
        if !matches!(name, "multi" | "pymysql") {
            laws::keeps_prefixes::<Mysql>(&conversation);
        }
    }
}

#[test]
fn keeps_splits() {
    for (_, conversation) in short().chain([("c_connector", recording!("c_connector"))]) {
        laws::keeps_splits::<Mysql>(&conversation);
    }
}

#[test]
fn keeps_gaps() {
    for (name, conversation) in short() {
        // An error in place of the greeting is one only where nothing came before it.
        laws::keeps_gaps::<Mysql>(&conversation, name != "too_many");
    }
}

#[test]
fn keeps_hostile() {
    for (_, conversation) in clean() {
        laws::keeps_hostile::<Mysql>(&conversation, 200);
    }
}

#[test]
fn compressed_conversations_keep_the_laws() {
    for (_, conversation) in compressed() {
        laws::keeps_prefixes::<Mysql>(&conversation);
        laws::keeps_splits::<Mysql>(&conversation);
        // A gap may swallow what turns compression on, and the next greeting is none inside of it.
        laws::keeps_gaps::<Mysql>(&conversation, false);
        laws::keeps_hostile::<Mysql>(&conversation, 200);
    }
}

/// The conversation with each turn cut to its first `len` bytes.
fn beheaded(conversation: &Conversation, len: usize) -> Drive<Mysql> {
    let mut drive = Drive::<Mysql>::new(Transport::Tcp);
    let mut left = 0;
    for (at, (direction, bytes)) in conversation.turns.iter().enumerate() {
        if at == 0 || conversation.turns[at - 1].0 != *direction {
            drive.turn(*direction);
            left = len;
        }
        let (seen, unseen) = bytes.split_at(left.min(bytes.len()));
        left -= seen.len();
        if !seen.is_empty() {
            drive.bytes(*direction, seen);
        }
        drive.gap(*direction, unseen.len() as u64);
    }
    drive.end(Egress);
    drive.end(Ingress);
    drive
}

#[test]
fn cut_turns_keep_method_and_status() {
    let known = |lines: &[String]| -> Vec<(String, bool)> {
        let method = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        lines.iter().map(|line| (method(line), line.contains(" error "))).collect()
    };
    for (name, conversation) in clean().into_iter().chain([("large", recording!("large"))]) {
        // What only a second result tells is lost; and so is what stands behind 512 bytes in a turn of many commands.
        if matches!(name, "multi" | "pymysql" | "c_connector") {
            continue;
        }
        let cut = paired(&folded(&beheaded(&conversation, 512).out.0));
        assert_eq!(known(&cut), known(&shown(&conversation)), "{name}");
    }
    for (name, conversation) in compressed() {
        let cut = paired(&folded(&beheaded(&conversation, 512).out.0));
        assert_eq!(known(&cut), known(&shown(&conversation)), "{name}");
    }
}

#[test]
fn a_late_attach_knows_no_more_than_it_saw() {
    let whole = recording!("connector");
    // Behind the preparation.
    let from = whole.turns.iter().position(|(_, bytes)| bytes.get(4) == Some(&0x17)).expect("an execute");
    let late = Conversation { turns: whole.turns[from..].to_vec(), ..whole.clone() };
    let late = shown(&late);
    assert_eq!(late[0], "EXECUTE ok", "the text is not known, the rest is");
    assert_eq!(
        late[1..],
        shown(&whole)[7..]
            .iter()
            .map(|line| line.replace("EXECUTE SELECT id, name, made FROM item WHERE price > ? ok", "EXECUTE ok"))
            .collect::<Vec<_>>()
    );
    let messages = read(&Conversation { turns: whole.turns[from..].to_vec(), ..whole });
    assert!(messages[0].session.is_none());
}

#[test]
fn a_late_attach_finds_compression_by_itself() {
    let whole = recording!("mysqlclient_compressed");
    let late = Conversation { turns: whole.turns[3..].to_vec(), ..whole.clone() };
    let late = shown(&late);
    assert_eq!(late[..], shown(&whole)[shown(&whole).len() - late.len()..]);
    assert!(late.len() > 8, "{late:?}");
}

#[test]
fn a_late_attach_finds_the_end_of_rows_with_and_without_eof() {
    for (_, conversation) in clean() {
        let Some(from) =
            conversation.turns.iter().position(|(direction, bytes)| *direction == Egress && bytes.get(3) == Some(&0))
        else {
            continue;
        };
        let late = shown(&Conversation { turns: conversation.turns[from..].to_vec(), ..conversation.clone() });
        let whole = shown(&conversation);
        assert_eq!(late, whole[whole.len() - late.len()..]);
    }
}

#[test]
fn a_frame_that_would_inflate_without_end_is_bounded() {
    let bomb = bomb(8 * 1024 * 1024);
    let mut turns = recording!("mysqlclient_compressed").turns;
    turns.truncate(4);
    let mut drive =
        Drive::<Mysql>::new(Transport::Tcp).conversation(&Conversation { turns, transport: Transport::Tcp });
    drive.turn(Egress);
    drive.bytes(Egress, &bomb);
    drive.turn(Ingress);
    drive.bytes(Ingress, b"\x0b\x00\x00\x01\x00\x00\x00\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00");
    drive.turn(Egress);
    drive.bytes(Egress, b"\x05\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0e");
    let shown: Vec<_> =
        drive.out.0.iter().rev().take(3).map(|message| (message.kind, message.method.to_string())).collect();
    assert_eq!(shown[0], (MessageKind::Request, "PING".to_owned()), "the next turn is read: {shown:?}");
}

/// A frame with one COM_QUERY of `len` spaces, deflated.
fn bomb(len: u32) -> Vec<u8> {
    let mut packet = (len + 1).to_le_bytes()[..3].to_vec();
    packet.extend([0, 3]);
    packet.resize(len as usize + 5, b' ');
    let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&packet, 9);
    let mut frame = (deflated.len() as u32).to_le_bytes()[..3].to_vec();
    frame.push(0);
    frame.extend(&(packet.len() as u32).to_le_bytes()[..3]);
    frame.extend(deflated);
    frame
}

#[test]
fn packets_of_16_mib_and_more_are_one_request() {
    let mut drive = Drive::<Mysql>::new(Transport::Tcp);
    drive.turn(Egress);
    let text = [b"\xff\xff\xff\x00\x03INSERT INTO t VALUES ('".as_slice(), &[b'x'; 1_000]].concat();
    drive.bytes(Egress, &text);
    drive.gap(Egress, 0xff_ffff - (text.len() as u64 - 4));
    drive.bytes(Egress, b"\x04\x00\x00\x01xx')");
    drive.turn(Ingress);
    drive.bytes(Ingress, b"\x07\x00\x00\x02\x00\x01\x00\x02\x00\x00\x00");
    // The answer goes on with the client's sequence ids.
    let messages = folded(&drive.out.0);
    assert_eq!(messages[0].method, "INSERT");
    assert_eq!(messages[0].bytes, 4 + 0xff_ffff + 8);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1].status, Status::Ok);
}

#[test]
fn replication_is_handed_over_when_it_begins() {
    let dump = b"\x0b\x00\x00\x00\x12\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00";
    let event = b"\x07\x00\x00\x01\x00\x00\x00\x00\x00\x04\x01";
    let mut drive =
        Drive::<Mysql>::new(Transport::Tcp).conversation(&Conversation::of(&[(Egress, dump), (Ingress, event)]));
    assert_eq!(paired(&folded(&drive.out.0)), ["BINLOG_DUMP ok"]);
    assert!(drive.out.0[1].upgrade);
    drive.bytes(Ingress, &[0; 64]);
    assert_eq!(drive.out.0.len(), 2, "the stream is not ours");
    let refused = b"\x10\x00\x00\x01\xff\xd4\x04#HY000cannot!";
    let shown = shown(&Conversation::of(&[(Egress, dump), (Ingress, refused)]));
    assert_eq!(shown, ["BINLOG_DUMP error 1236"]);
}

#[test]
fn what_zstd_hides_is_counted() {
    let frame = |seq: u8| [&[9, 0, 0, seq, 60, 0, 0][..], b"\x28\xb5\x2f\xfd12345"].concat();
    let ask = frame(0);
    let answer = frame(1);
    let turns = [(Egress, &ask[..]), (Ingress, &answer), (Egress, &ask), (Ingress, &answer), (Ingress, &frame(2))];
    let mut drive = Drive::<Mysql>::new(Transport::Tcp).conversation(&Conversation::of(&turns));
    drive.turn(Egress);
    let messages = folded(&drive.out.0);
    let kinds: Vec<_> = messages.iter().map(|message| (message.kind, message.status)).collect();
    let (asked, answered) = ((MessageKind::Request, Status::Unknown), (MessageKind::Response, Status::Unknown));
    assert_eq!(kinds, [asked, answered, asked, answered]);
    assert!(messages.iter().all(|message| message.part == Part::Whole && message.cut));
}

#[test]
fn a_request_that_a_lost_part_held_is_made_up_for() {
    let ping = b"\x01\x00\x00\x00\x0e";
    let ok = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00";
    let mut drive = Drive::<Mysql>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, ping);
    drive.gap(Egress, 5);
    drive.turn(Ingress);
    drive.bytes(Ingress, &[&ok[..], ok].concat());
    let kinds: Vec<_> = drive.out.0.iter().map(|message| (message.kind, message.method.to_string())).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert_eq!(kinds[2], (MessageKind::Request, String::new()));
}

#[test]
fn answers_of_a_pipeline_that_were_cut_are_made_up_for() {
    let pings = b"\x01\x00\x00\x00\x0e".repeat(3);
    let mut drive = Drive::<Mysql>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, &pings);
    drive.turn(Ingress);
    drive.bytes(Ingress, b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x07\x00");
    drive.gap(Ingress, 20);
    drive.turn(Egress);
    let shown = paired(&folded(&drive.out.0));
    assert_eq!(shown, ["PING ok", "PING unknown", "PING unknown"]);
}

#[test]
fn query_attributes_stand_before_the_text() {
    // Recorded forms are in `command`; here that the greeting's capabilities decide.
    let query = b"\x0d\x00\x00\x00\x03\x00\x01select now";
    let ok = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00";
    assert_eq!(shown(&Conversation::of(&[(Egress, query), (Ingress, ok)])), ["SELECT select now ok"]);
}

#[test]
fn recognises_clients_and_servers_by_content() {
    let says = |bytes: &[u8], port, probe| laws::keeps_probe::<Mysql>(bytes, context(port), probe);
    for (_, conversation) in clean().into_iter().chain(compressed()) {
        if conversation.turns[0].1.get(4) == Some(&0x0a) {
            says(&conversation.turns[0].1, 9000, Probe::Match(Speaker::Server));
            says(&conversation.turns[1].1, 9000, Probe::Match(Speaker::Client));
        }
    }
    says(b"\x09\x00\x00\x00\x03SELECT 1", 9000, Probe::Match(Speaker::Client));
    says(b"\x0d\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x03select 1", 9000, Probe::Match(Speaker::Client));
    says(b"\x0a\x00\x00\x00\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00", 9000, Probe::Match(Speaker::Client));
    says(b"\x01\x00\x00\x01\x02\x17\x00\x00\x02\x03def", 9000, Probe::Match(Speaker::Server));
    says(b"\x10\x00\x00\x01\xff\x15\x04#28000Access", 9000, Probe::Match(Speaker::Server));
    says(b"\x01\x00\x00\x00\x0e", 3306, Probe::Match(Speaker::Client));
    says(&recording!("too_many").turns[0].1, 3306, Probe::Match(Speaker::Server));
}

#[test]
fn refuses_what_only_looks_alike() {
    let refuses = |bytes: &[u8], port| laws::keeps_probe::<Mysql>(bytes, context(port), Probe::NoMatch);
    refuses(b"\x01\x00\x00\x00\x0e", 9000);
    refuses(b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00", 9000);
    refuses(b"GET / HTTP/1.1\r\n\r\n", 3306);
    refuses(b"*1\r\n$4\r\nPING\r\n", 3306);
    refuses(b"\x16\x03\x01\x02\x00\x01", 3306);
    refuses(b"\x4a\x00\x00\x00\x0a8.0.1 no zero\x01 byte", 3306);
    refuses(b"\x09\x00\x00\x00\x03SELECTED", 9000);
    // No keyword is as long as that, whatever follows.
    refuses(&[b"\x00\x10\x00\x00\x03", [b'a'; 40].as_slice()].concat(), 9000);
    refuses(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00", 3306);
    let datagram = ProbeContext { transport: Transport::Udp, server_port: 3306, late: false };
    assert_eq!(Mysql::probe(b"\x09\x00\x00\x00\x03SELECT 1", datagram), Probe::NoMatch);
}

const CLI: &[&str] = &[
    "LOGIN ok",
    "SELECT SELECT 1 ok",
    "SELECT SELECT id, name, price, made, note FROM item ORDER BY id ok",
    "SELECT SELECT DATABASE() ok",
    "INIT_DB other ok",
    "SELECT SELECT DATABASE() ok",
    "SELECT SELECT DATABASE() ok",
    "INIT_DB shop ok",
    "INSERT INSERT INTO word VALUES ('tea'), ('pot') ok",
    "UPDATE UPDATE word SET w = 'cup' WHERE w = 'pot' ok",
    "DELETE DELETE FROM word ok",
    "SELECT SELECT * FROM word ok",
    "SELECT SELECT nothing FROM nowhere error 1146",
    "SELEC SELEC 1 error 1064",
    "SET SET @a = 1 ok",
    "BEGIN BEGIN ok",
    "INSERT INSERT INTO word VALUES ('x') ok",
    "ROLLBACK ROLLBACK ok",
    "SHOW SHOW TABLES ok",
    "SELECT select DATABASE(), USER() limit 1 ok",
    "SELECT select @@version_comment limit 1 ok",
    "SELECT select @@character_set_client, @@character_set_connection, @@character_set_server, @@character_set_database limit 1 ok",
    "STATISTICS ok",
    "CALL CALL twice() ok",
    "QUIT -",
];

mod oracle;
