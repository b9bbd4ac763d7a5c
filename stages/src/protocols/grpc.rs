//! Protocol `grpc`: what gRPC adds to HTTP (gRPC over HTTP2, PROTOCOL-HTTP2.md; gRPC-Web, PROTOCOL-WEB.md).
//!
//! No parser of its own: the rooms of the HTTP versions read the bytes, and ask here what a content type means
//! ([`Flavor`]), how a call is named ([`renamed`]), how many messages a body holds and which status its trailers carry
//! ([`Body`]), and what a status is where none was sent ([`status`]). The method of a call is always `POST`.
//!
//! Absent: protobuf, compressed messages (their length is all that matters), `grpc-message` (it is text of the application).

pub mod body;
pub mod status;
mod traits;

pub use body::Body;

use super::traits::Traits;
use super::{Probe, ProbeContext, Protocol};
use crate::flow::message::{Message, Status};
use crate::text::{Text, Token};

/// The protocol.
#[derive(Debug)]
pub struct Grpc;

impl Grpc {
    /// What the stages want to know of it.
    pub const TRAITS: Traits = traits::TRAITS;

    /// Found out by the parser of what carries it, from the content type or from what the answer says.
    fn probe(_prefix: &[u8], _context: ProbeContext) -> Probe {
        Probe::NoMatch
    }
}

/// How the messages of a call are written in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// gRPC: trailers are those of HTTP.
    Native,
    /// gRPC-Web: trailers are a frame of the body.
    Web,
    /// The same, in base64.
    WebText,
}

impl Flavor {
    /// What a content type says: `application/grpc`, `application/grpc-web`, `application/grpc-web-text`, each with a
    /// format behind `+` (or parameters behind `;`) or without. `None`: not gRPC.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let end = content_type.iter().position(|byte| matches!(byte, b'+' | b';' | b' ')).unwrap_or(content_type.len());
        let essence = content_type.get(..end)?;
        [
            (&b"application/grpc"[..], Self::Native),
            (b"application/grpc-web", Self::Web),
            (b"application/grpc-web-text", Self::WebText),
        ]
        .into_iter()
        .find_map(|(text, flavor)| essence.eq_ignore_ascii_case(text).then_some(flavor))
    }
}

/// Method and path of a request of HTTP become those of the call that it is: `POST`, and `package.Service/Method`.
pub fn renamed(method: &mut Token, target: &mut Text) {
    *method = Token::from("POST");
    let path = target.as_bytes();
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or(path);
    *target = Text::from_wire(path.strip_prefix(b"/").unwrap_or(path));
}

/// Writes the status of a call into the message that ends it; `None`: it is not known.
pub fn ended(message: &mut Message, status: Option<u32>) {
    message.protocol = Protocol::Grpc;
    let Some(status) = status else {
        message.status = Status::Unknown;
        message.code = Token::new();
        return;
    };
    message.status = if status == status::OK { Status::Ok } else { Status::Error };
    message.code = Token::from_number(status);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_its_path() {
        for (path, name) in [("/shop.Orders/Get", "shop.Orders/Get"), ("/a.B/C?d=/e", "a.B/C"), ("", "")] {
            let (mut method, mut target) = (Token::new(), Text::from(path));
            renamed(&mut method, &mut target);
            assert_eq!((method.as_str(), target.as_str()), ("POST", name));
        }
    }

    #[test]
    fn knows_its_content_types() {
        for (text, flavor) in [
            ("application/grpc", Some(Flavor::Native)),
            ("application/grpc+proto", Some(Flavor::Native)),
            ("application/grpc;charset=utf-8", Some(Flavor::Native)),
            ("application/grpc-web", Some(Flavor::Web)),
            ("application/grpc-web+json", Some(Flavor::Web)),
            ("Application/GRPC-web-text+proto", Some(Flavor::WebText)),
            ("application/grpcx", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Flavor::of(text.as_bytes()), flavor, "{text}");
        }
    }
}
