//! What a beginning of DNS looks like: a header without contradictions and one whole question, wherever it goes.
//!
//! Away from port 53 the question must also be of a known type and class IN, and its name printable.

use super::message::{Failure, HEADER, Header, opcode, read_question};
use super::names::known_type;
use crate::protocols::wire::Cursor;
use crate::protocols::{Probe, ProbeContext, Speaker};

const PORT: u16 = 53;
/// Multicast DNS (RFC 6762): questions to everyone, with id 0, that nobody has to answer.
const MDNS_PORT: u16 = 5353;
/// LLMNR (RFC 4795), likewise.
const LLMNR_PORT: u16 = 5355;
/// Answers, authorities or additional records in one message that are believed.
const MAX_RECORDS: u16 = 4_096;
/// Additional records of a question: OPT, TSIG, SIG(0), cookies of the past.
const MAX_QUESTION_EXTRAS: u16 = 4;

/// As [`crate::protocols::Wire::probe`].
pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        // A datagram is a message: what is not there will not come.
        return match judge(prefix, context) {
            Probe::NeedMore => Probe::NoMatch,
            settled => settled,
        };
    }
    let Some((len, message)) = prefix.split_at_checked(2) else {
        return Probe::NeedMore;
    };
    let len = len.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
    // Header, root, type and class.
    if len < HEADER + 5 {
        return Probe::NoMatch;
    }
    match judge(message.get(..len).unwrap_or(message), context) {
        Probe::NeedMore if message.len() >= len => Probe::NoMatch,
        answer => answer,
    }
}

fn judge(message: &[u8], context: ProbeContext) -> Probe {
    let mut cursor = Cursor::new(message);
    let Some(header) = Header::read(&mut cursor) else {
        return Probe::NeedMore;
    };
    if !is_sane(&header) || is_multicast(&header, context) {
        return Probe::NoMatch;
    }
    let home = context.server_port == PORT;
    let question = match read_question(message, &mut cursor) {
        Ok(question) => question,
        Err(Failure::Short) => return Probe::NeedMore,
        Err(Failure::Bad(_)) => return Probe::NoMatch,
    };
    // RFC 1035 3.2.4, 3.2.5 and RFC 2136: IN, CH, HS, NONE, ANY.
    let class = matches!(question.class, 1 | 3 | 4 | 254 | 255);
    let plausible = if home {
        class && question.kind != 0
    } else {
        question.class == 1
            && known_type(question.kind).is_some()
            && question.name.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match (plausible, header.is_response()) {
        (false, _) => Probe::NoMatch,
        (true, true) => Probe::Match(Speaker::Server),
        (true, false) => Probe::Match(Speaker::Client),
    }
}

fn is_sane(header: &Header) -> bool {
    // RFC 1035 4.1.1: Z is zero. (Two of its three bits are AD and CD now.)
    let zero = header.flags & 0x0040 == 0;
    let records = [header.answers, header.authorities, header.additional];
    let few = records.iter().all(|count| *count <= MAX_RECORDS);
    let question = header.is_response()
        || (header.rcode() == 0
            // TC, RA: a question is whole, and offers nothing.
            && header.flags & 0x0280 == 0
            && header.additional <= MAX_QUESTION_EXTRAS
            && match header.opcode() {
                // RFC 1995: an IXFR question holds one authority record.
                opcode::QUERY => header.answers == 0 && header.authorities <= 1,
                _ => true,
            });
    let opcode = matches!(header.opcode(), opcode::QUERY | opcode::NOTIFY | opcode::UPDATE);
    zero && few && question && opcode && header.questions == 1
}

fn is_multicast(header: &Header, context: ProbeContext) -> bool {
    context.server_port == LLMNR_PORT || (context.server_port == MDNS_PORT && header.id == 0)
}
