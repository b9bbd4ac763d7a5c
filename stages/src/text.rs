//! Small owned text: what outlives parse.
//!
//! Both types keep short text in place (no allocation for what traffic mostly holds) and are cut at a stated bound, on a
//! character boundary, with invalid UTF-8 replaced by `?`: bytes from the network become text here and nowhere else.

use crate::limits;
use smallvec::SmallVec;
use std::fmt;

/// A method, status code or name: in place up to 16 bytes, at most [`limits::MAX_TOKEN`].
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Token(SmallVec<[u8; 16]>);

/// A target: in place up to 64 bytes, at most [`limits::MAX_TARGET`].
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Text(SmallVec<[u8; 64]>);

macro_rules! text {
    ($name:ident, $max:expr) => {
        impl $name {
            /// Nothing.
            #[must_use]
            pub const fn new() -> Self {
                Self(SmallVec::new_const())
            }

            /// The bytes as text: cut at the bound, what is not UTF-8 replaced by `?`.
            #[must_use]
            pub fn from_wire(bytes: &[u8]) -> Self {
                let mut text = Self::new();
                text.push_wire(bytes);
                text
            }

            /// Appends, as far as the bound allows.
            pub fn push_wire(&mut self, bytes: &[u8]) {
                let room = $max.saturating_sub(self.0.len());
                let bytes = bytes.get(..room).unwrap_or(bytes);
                // Nearly everything is, and that is quicker to see than that it is UTF-8.
                if bytes.is_ascii() {
                    self.0.extend_from_slice(bytes);
                    return;
                }
                let mut rest = bytes;
                while !rest.is_empty() {
                    match std::str::from_utf8(rest) {
                        Ok(_) => {
                            self.0.extend_from_slice(rest);
                            return;
                        }
                        Err(error) => {
                            let (valid, bad) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
                            self.0.extend_from_slice(valid);
                            // error_len is None for a character that the bound cut in two: it goes without a trace.
                            let Some(len) = error.error_len() else { return };
                            self.0.push(b'?');
                            rest = bad.get(len..).unwrap_or(&[]);
                        }
                    }
                }
            }

            /// The same text in ASCII upper case.
            #[must_use]
            pub fn from_wire_upper(bytes: &[u8]) -> Self {
                let mut text = Self::from_wire(bytes);
                text.0.make_ascii_uppercase();
                text
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// Its bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// True for the empty text.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl Clone for $name {
            // All bytes at once; the derived one would go byte by byte.
            fn clone(&self) -> Self {
                Self(SmallVec::from_slice(&self.0))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::from_wire(text.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }
    };
}

text!(Token, limits::MAX_TOKEN);
text!(Text, limits::MAX_TARGET);

impl Token {
    /// A decimal number, as status codes are written.
    #[must_use]
    pub fn from_number(mut n: u32) -> Self {
        let mut digits: SmallVec<[u8; 16]> = SmallVec::new();
        loop {
            digits.push(b'0' + u8::try_from(n % 10).unwrap_or(0));
            n /= 10;
            if n == 0 {
                break;
            }
        }
        digits.reverse();
        Self(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_is_not_utf8() {
        assert_eq!(Text::from_wire(b"/a\xff\xfe/b").as_str(), "/a??/b");
    }

    #[test]
    fn cuts_at_the_bound_on_a_character_boundary() {
        let long = "é".repeat(limits::MAX_TOKEN);
        let token = Token::from_wire(&long.as_bytes()[1..]);
        assert!(token.as_str().len() <= limits::MAX_TOKEN);
        let token = Token::from_wire(format!("x{long}").as_bytes());
        assert_eq!(token.as_str().len(), limits::MAX_TOKEN - 1, "the last character did not fit whole");
    }

    #[test]
    fn writes_numbers() {
        assert_eq!(Token::from_number(0), "0");
        assert_eq!(Token::from_number(504), "504");
        assert_eq!(Token::from_number(u32::MAX), "4294967295");
    }
}
