//! What one segment of a path is: a name, or a value of a known kind.
//!
//! Pure functions on one segment. The kinds are told by shape alone; what has no shape is told by
//! [`super::routes`] from how many different ones there are.

/// Text of a segment whose values are many and of no known kind.
pub(super) const ANY: &str = "{var}";

/// What a segment looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A name, as far as one can tell.
    Name,
    /// A value of that kind.
    Value(&'static str),
    /// A file name with a value in it: which of its parts (between dots) are values was written to the scratch.
    File,
}

/// The shape of `segment`. For [`Shape::File`] its converged text is left in `scratch`; else `scratch` means nothing.
pub(super) fn shape(segment: &str, scratch: &mut String) -> Shape {
    if let Some(kind) = kind(segment) {
        return Shape::Value(kind);
    }
    if is_email(segment) {
        return Shape::Value("{email}");
    }
    if file(segment, scratch) { Shape::File } else { Shape::Name }
}

fn kind(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(u8::is_ascii_digit) && bytes.len() < 16 {
        return None; // nearly every name ends here
    }
    if is_date(bytes) {
        Some("{date}")
    } else if is_number(bytes) {
        Some("{id}")
    } else if is_uuid(bytes) {
        Some("{uuid}")
    } else if is_hash(bytes) {
        Some("{hash}")
    } else if text.parse::<std::net::IpAddr>().is_ok() {
        Some("{ip}")
    } else if is_token(bytes) {
        Some("{token}")
    } else {
        None
    }
}

/// Decimal digits, with a sign or one decimal point or comma-separated.
fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let points = digits.iter().filter(|&&byte| byte == b'.').count();
    let plain = digits.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.'));
    plain
        && points <= 1
        && digits.first().is_some_and(u8::is_ascii_digit)
        && digits.last().is_some_and(u8::is_ascii_digit)
}

/// 8-4-4-4-12 hexadecimal digits (RFC 9562, section 4), in braces or not.
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Hexadecimal digits: 16 or more, or 7 to 15 (an abbreviated git hash) with at least two digits and two letters; or with 0x.
fn is_hash(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let numbers = digits.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits.len() >= 16
        || digits.len() < bytes.len()
        || (digits.len() >= 7 && numbers >= 2 && digits.len() - numbers >= 2)
}

/// `2026-11-23`, `2026-11`, `20261123`, or any of them followed by `T` and a time.
fn is_date(bytes: &[u8]) -> bool {
    let date = match bytes.iter().position(|&byte| byte == b'T') {
        Some(at) => match bytes.split_at_checked(at) {
            Some((date, time)) if is_time(time) => date,
            _ => return false,
        },
        None => bytes,
    };
    let (year, month, day) = match *date {
        [a, b, c, d, b'-', e, f, b'-', g, h] => ([a, b, c, d], [e, f], [g, h]),
        [a, b, c, d, b'-', e, f] => ([a, b, c, d], [e, f], *b"01"),
        [a, b, c, d, e, f, g, h] => ([a, b, c, d], [e, f], [g, h]),
        _ => return false,
    };
    let (Some(year), Some(month), Some(day)) = (number(&year), number(&month), number(&day)) else {
        return false;
    };
    (1900..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn is_time(bytes: &[u8]) -> bool {
    bytes.len() >= 3
        && bytes
            .iter()
            .skip(1)
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'Z' | b'+' | b'-' | b'%'))
        && bytes.get(1).is_some_and(u8::is_ascii_digit)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

/// 20 or more characters of an encoding (base64 in either alphabet, JWT, ULID), with a long run of letters and digits
/// that change places often, as they do not in words joined by hyphens.
fn is_token(bytes: &[u8]) -> bool {
    let encoded = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'+' | b'.' | b'~' | b'%' | b':')
    };
    if bytes.len() < 20 || !bytes.iter().all(encoded) {
        return false;
    }
    bytes.split(|byte| !byte.is_ascii_alphanumeric()).any(|run| {
        let changes = run.windows(2).filter(|pair| pair.first().map(kind_of) != pair.last().map(kind_of)).count();
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        run.len() >= 10 && digits >= 1 && changes >= 4
    })
}

fn kind_of(byte: &u8) -> u8 {
    match byte {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        _ => 2,
    }
}

/// Something, an at sign (also as `%40`), and something with a dot.
fn is_email(text: &str) -> bool {
    let parts = text.split_once('@').or_else(|| text.split_once("%40"));
    parts.is_some_and(|(local, domain)| {
        !local.is_empty() && domain.split_once('.').is_some_and(|(host, rest)| !host.is_empty() && !rest.is_empty())
    })
}

/// `name.hash.js`, `123.json`: parts between dots that are values are replaced, if the last is an extension (a letter, then
/// at most 5 letters or digits).
fn file(segment: &str, scratch: &mut String) -> bool {
    let Some((stem, extension)) = segment.rsplit_once('.') else { return false };
    let is_extension = extension.len() <= 6
        && extension.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_extension || stem.is_empty() {
        return false;
    }
    scratch.clear();
    let mut values = false;
    if let Some(kind) = kind(stem) {
        scratch.push_str(kind);
        values = true;
    } else {
        for (at, part) in stem.split('.').enumerate() {
            if at > 0 {
                scratch.push('.');
            }
            // A number alone between dots is a version ("jquery.3.7.min.js"), and stays.
            let value = kind(part).filter(|&kind| kind != "{id}");
            values |= value.is_some();
            scratch.push_str(value.unwrap_or(part));
        }
    }
    scratch.push('.');
    scratch.push_str(extension);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converged(segment: &str) -> String {
        let mut scratch = String::new();
        match shape(segment, &mut scratch) {
            Shape::Name => segment.to_owned(),
            Shape::Value(kind) => kind.to_owned(),
            Shape::File => scratch,
        }
    }

    #[test]
    fn tells_values_from_names() {
        for (segment, expected) in [
            ("42", "{id}"),
            ("-7", "{id}"),
            ("1732339200", "{id}"),
            ("52.52", "{id}"),
            ("1,2,3", "{id}"),
            ("2026-11-23", "{date}"),
            ("2026-11", "{date}"),
            ("20261123", "{date}"),
            ("2026-11-23T05:17:16Z", "{date}"),
            ("99999999", "{id}"),
            ("550e8400-e29b-41d4-a716-446655440000", "{uuid}"),
            ("550E8400-E29B-41D4-A716-446655440000", "{uuid}"),
            ("d41d8cd98f00b204e9800998ecf8427e", "{hash}"),
            ("507f1f77bcf86cd799439011", "{hash}"),
            ("63e12f1", "{hash}"),
            ("0x1f", "{hash}"),
            ("10.0.0.17", "{ip}"),
            ("2001:db8::17", "{ip}"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "{token}"),
            ("dGhpcyBpcyBhIHRva2VuIDEyMw==", "{token}"),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{token}"),
            ("ann@example.org", "{email}"),
            ("ann%40example.org", "{email}"),
            ("123.json", "{id}.json"),
            ("main.8f3a9c1b.chunk.js", "main.{hash}.chunk.js"),
        ] {
            assert_eq!(converged(segment), expected, "{segment}");
        }
    }

    #[test]
    fn leaves_names_alone() {
        for segment in [
            "users",
            "v1",
            "v2beta1",
            "api",
            "feedbed",
            "deadbeef",
            "facade",
            "index.html",
            "favicon.ico",
            "utf-8",
            "sha256",
            "jquery.3.7.min.js",
            "bootstrap-4.3.1.min.css",
            "how-to-build-a-website-in-2024",
            "administration-console-overview",
            "oauth2",
            "s3",
            "@me",
            "a@b",
            ".well-known",
            "-",
            "T",
            "1.2.3",
            "2026-13-01x",
            "héllo",
            "",
        ] {
            assert_eq!(converged(segment), segment);
        }
    }
}
