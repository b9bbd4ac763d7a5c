//! What a stream is: a call of gRPC, or a plain request of HTTP/2; and, where the request cannot be read (joined late, or bytes
//! missing), what its answer and the connection tell.
//!
//! Proof of a call is the request's content type or, where that one is unknown, the answer's, or a field in it that only gRPC
//! has. Proof of the contrary is any other content type, none, or a method that is not POST; `te: trailers`, the form of a path
//! and a body that looks like messages prove nothing. A stream without proof is one of HTTP/2, but its 200 is no success where it
//! may be how a failed call was answered: see [`Outcome`].

use super::fields::Block;
use crate::protocols::grpc::Flavor;

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Nature {
    /// A call of gRPC; `None`: its flavor is not known.
    Call(Option<Flavor>),
    /// No call.
    #[default]
    Plain,
    /// Either.
    Unclear,
}

impl Nature {
    /// What a request says of itself.
    pub(super) fn of_request(fields: &Block) -> Self {
        match fields.content_type {
            Some(Some(flavor)) => Self::Call(Some(flavor)),
            Some(None) => Self::Plain,
            // A call has a content type, and its method is POST (gRPC, PROTOCOL-HTTP2.md, requests).
            None if fields.unknown && (fields.method.is_empty() || fields.method.as_bytes() == b"POST") => {
                Self::Unclear
            }
            None => Self::Plain,
        }
    }

    /// What a header block of the answer says of it; `head`: the first. Without effect on what is clear: a gateway may answer a
    /// plain request with fields of gRPC.
    pub(super) fn learn(&mut self, fields: &Block, head: bool) {
        match (*self, fields.content_type) {
            (Self::Call(Some(_)) | Self::Plain, _) => {}
            (_, Some(Some(flavor))) => *self = Self::Call(Some(flavor)),
            (Self::Unclear, Some(None)) => *self = Self::Plain,
            (_, None) if fields.grpc && head => *self = Self::Call(None),
            // gRPC-Web has its trailers in the body.
            (_, _) if fields.grpc => *self = Self::Call(Some(Flavor::Native)),
            (_, _) => {}
        }
    }
}

/// What the streams of a connection were, as far as it was clear.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carried {
    calls: bool,
    /// Of those, some ended with their bodies.
    web: bool,
    plain: bool,
}

impl Carried {
    /// A stream is clear.
    pub(super) fn note(&mut self, nature: Nature) {
        match nature {
            Nature::Call(flavor) => {
                self.calls = true;
                self.web |= matches!(flavor, Some(Flavor::Web | Flavor::WebText));
            }
            Nature::Plain => self.plain = true,
            Nature::Unclear => {}
        }
    }

    /// Nothing but calls: what is unclear is taken for one, too.
    pub(super) fn only_calls(self) -> bool {
        self.calls && !self.plain
    }

    /// A call ended with its body.
    pub(super) fn ended_with_body(&mut self) {
        self.web = true;
    }
}

/// How an answer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As a call with this status; `None`: it is not known.
    Call(Option<u32>),
    /// As the status of HTTP says.
    Http,
    /// Unknown: the 200 of HTTP may be that of a failed call.
    Untold,
}

impl Outcome {
    /// Of an unclear stream with a 200 (or a status that is not known either) that did not come to its end.
    pub(super) fn of_unclear(carried: Carried) -> Self {
        match carried.calls {
            false => Self::Http,
            true if carried.only_calls() => Self::Call(None),
            true => Self::Untold,
        }
    }

    /// Of one that ended, with the block `last` or with its body; `bare`: it had none.
    pub(super) fn of_unclear_ended(last: Option<&Block>, bare: bool, carried: Carried) -> Self {
        match (last, carried.calls) {
            // A call ends with a block, and its status is in it (gRPC, PROTOCOL-HTTP2.md, responses); of gRPC-Web it is in the body.
            (Some(last), _) if !last.unknown => Self::Http,
            (None, _) if !carried.web => Self::Http,
            // Nothing speaks for gRPC but that it would look like this: a call that failed without a message, or one whose end
            // differs from all before.
            (Some(last), false) if bare || last.news => Self::Untold,
            _ => Self::of_unclear(carried),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(method: &str) -> Block {
        Block { method: method.into(), unknown: true, ..Block::default() }
    }

    #[test]
    fn a_request_is_unclear_only_where_its_content_type_may_be_that_of_a_call() {
        let said = |content_type| Block { content_type: Some(content_type), ..unread("POST") };
        for (fields, nature) in [
            (unread("POST"), Nature::Unclear),
            (unread(""), Nature::Unclear),
            (unread("GET"), Nature::Plain),
            (Block { unknown: false, ..unread("POST") }, Nature::Plain),
            (said(None), Nature::Plain),
            (said(Some(Flavor::Web)), Nature::Call(Some(Flavor::Web))),
            (Block { grpc: true, ..unread("GET") }, Nature::Plain),
        ] {
            assert_eq!(Nature::of_request(&fields), nature, "{fields:?}");
        }
    }

    #[test]
    fn an_answer_shows_what_was_unclear_and_nothing_else() {
        let grpc = Block { grpc: true, ..Block::default() };
        let json = Block { content_type: Some(None), ..grpc.clone() };
        let web = Block { content_type: Some(Some(Flavor::Web)), ..grpc.clone() };
        for (fields, head, nature) in [
            (&grpc, true, Nature::Call(None)),
            (&grpc, false, Nature::Call(Some(Flavor::Native))),
            // A gateway says how the call behind it went.
            (&json, true, Nature::Plain),
            (&web, true, Nature::Call(Some(Flavor::Web))),
            (&Block::default(), true, Nature::Unclear),
        ] {
            let mut unclear = Nature::Unclear;
            unclear.learn(fields, head);
            assert_eq!(unclear, nature, "{fields:?}");
            for clear in [Nature::Plain, Nature::Call(Some(Flavor::WebText))] {
                let mut still = clear;
                still.learn(fields, head);
                assert_eq!(still, clear, "{fields:?}");
            }
        }
        let mut call = Nature::Call(None);
        call.learn(&grpc, false);
        assert_eq!(call, Nature::Call(Some(Flavor::Native)), "its trailers are those of HTTP");
    }

    #[test]
    fn a_200_is_no_success_where_it_may_be_that_of_a_failed_call() {
        let (read, same) = (Block::default(), unread(""));
        let news = Block { news: true, ..unread("") };
        let nothing = Carried::default();
        let calls = Carried { calls: true, ..nothing };
        let both = Carried { plain: true, ..calls };
        let web = Carried { web: true, ..calls };
        for (last, bare, carried, outcome) in [
            (None, false, nothing, Outcome::Http),
            (Some(&same), false, nothing, Outcome::Http),
            (Some(&same), true, nothing, Outcome::Untold),
            (Some(&news), false, nothing, Outcome::Untold),
            (Some(&read), true, nothing, Outcome::Http),
            (None, false, calls, Outcome::Http),
            (Some(&same), false, calls, Outcome::Call(None)),
            (Some(&read), false, calls, Outcome::Http),
            (Some(&same), false, both, Outcome::Untold),
            (None, false, both, Outcome::Http),
            (None, false, web, Outcome::Call(None)),
        ] {
            assert_eq!(Outcome::of_unclear_ended(last, bare, carried), outcome, "{last:?} {bare} {carried:?}");
        }
        assert_eq!(
            [nothing, calls, both].map(Outcome::of_unclear),
            [Outcome::Http, Outcome::Call(None), Outcome::Untold]
        );
    }
}
