//! What the probe takes for PostgreSQL, and what it does not.

use super::*;

fn says(bytes: &[u8], port: u16, probe: Probe) {
    laws::keeps_probe::<Postgres>(bytes, context(port), probe);
}

/// As identification hands it over.
fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..512).unwrap_or(bytes)
}

#[test]
fn recognises_the_beginning_of_every_recording_on_any_port() {
    for (name, conversation) in all() {
        println!("{name}");
        for port in [5432, 9000] {
            says(head(&conversation.turns[0].1), port, Probe::Match(Speaker::Client));
        }
    }
}

#[test]
fn recognises_a_client_in_mid_stream() {
    for name in [
        "simple",
        "pgbench_simple",
        "pgbench_extended",
        "pgbench_prepared",
        "pgbench_pipeline",
        "psycopg",
        "pgx",
        "long_query",
    ] {
        let (_, conversation) = all().into_iter().find(|(other, _)| *other == name).expect("a recording");
        let later = conversation.turns.iter().filter(|(direction, _)| *direction == Egress).skip(1);
        for (_, bytes) in later.filter(|(_, bytes)| bytes.len() > 5 && !matches!(bytes[0], b'd' | b'c')) {
            says(head(bytes), 5432, Probe::Match(Speaker::Client));
        }
    }
}

#[test]
fn recognises_a_server_in_mid_stream() {
    for name in ["simple", "pgbench_simple", "pgbench_prepared", "pgbench_pipeline", "copy"] {
        let (_, conversation) = all().into_iter().find(|(other, _)| *other == name).expect("a recording");
        for (_, bytes) in conversation.turns.iter().filter(|(direction, _)| *direction == Ingress).skip(1) {
            let answer = Postgres::probe(head(bytes), context(5432));
            assert!(matches!(answer, Probe::Match(Speaker::Server) | Probe::NeedMore), "{name}: {answer:?} {bytes:?}");
            says(head(bytes), 5432, answer);
        }
    }
    says(b"C\0\0\0\x0dDELETE 1\0Z\0\0\0\x05I", 9000, Probe::Match(Speaker::Server));
    says(b"E\0\0\0\x1bSERROR\0C42601\0Msyntax\0\0", 9000, Probe::Match(Speaker::Server));
    says(b"R\0\0\0\x08\0\0\0\0S\0\0\0\x0ename\0valu\0", 9000, Probe::Match(Speaker::Server));
}

#[test]
fn one_byte_proves_nothing() {
    for byte in [b"S", b"N", b"G", b"R", b"Q"] {
        let answer = Postgres::probe(byte, context(5432));
        assert!(matches!(answer, Probe::NeedMore | Probe::NoMatch), "{answer:?}");
    }
}

#[test]
fn refuses_what_only_looks_alike() {
    for port in [5432, 9000] {
        let refuses = |bytes: &[u8]| says(bytes, port, Probe::NoMatch);
        refuses(b"GET / HTTP/1.1\r\n\r\n");
        refuses(b"POST / HTTP/1.1\r\n\r\n");
        refuses(b"*1\r\n$4\r\nPING\r\n");
        refuses(b"\x16\x03\x01\x02\x00\x01");
        // Kafka: Metadata, version 0 of it.
        refuses(b"\0\0\0\x1d\0\x03\0\0\0\0\0\x01\0\x07console");
        refuses(b"\0\0\0\x08\x04\xd2\x16\x32");
        refuses(b"\0\0\0\x09\x04\xd2\x16\x2fx");
        refuses(b"Q\0\0\0\x0aselect 1\0");
        refuses(b"Q\0\0\0\x0esel\0ct 1;\0");
        refuses(b"SSH-2.0-OpenSSH");
        refuses(b"E\0\0\0\x1bXERROR\0C42601\0Msyntax\0\0");
    }
    let datagram = ProbeContext { transport: Transport::Udp, server_port: 5432, late: false };
    assert_eq!(Postgres::probe(b"Q\0\0\0\x0dselect 1\0", datagram), Probe::NoMatch);
}
