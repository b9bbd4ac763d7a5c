//! The files of the web interface: a fixed table, made when the binary was built out of `pipeline/ui/dist/`.
//!
//! They are kept compressed, and unpacked for the few clients that do not take gzip. A path is only ever compared with
//! the names of the table; nothing is read from a disk. Each answer forbids the browser to load or run anything from
//! elsewhere ([`POLICY`]).

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::io::Read as _;

/// What a page may load, and from where.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Below it are files whose names change with their content.
const HASHED: &str = "/assets/";

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Its path; that of the index is also `/`.
    path: &'static str,
    /// Its entity tag, with the quotes.
    tag: &'static str,
    /// Bytes, unpacked.
    length: usize,
    /// Its content, as gzip.
    packed: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a path, if there is one.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The answer to a request with these headers.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ETAG, self.tag),
            (CACHE_CONTROL, self.kept()),
            (VARY, "accept-encoding"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if text(IF_NONE_MATCH).split(',').any(|tag| same(tag, self.tag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind()));
        if takes_gzip(text(ACCEPT_ENCODING)) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return (headers, Bytes::from_static(self.packed)).into_response();
        }
        (headers, self.unpacked()).into_response()
    }

    /// How long a browser may keep it: for good where another content has another name.
    fn kept(&self) -> &'static str {
        if self.path.starts_with(HASHED) { "private, max-age=31536000, immutable" } else { "no-cache" }
    }

    fn kind(&self) -> &'static str {
        match self.path.rsplit_once('.').map_or("", |(_, kind)| kind) {
            "html" => "text/html; charset=utf-8",
            "js" | "mjs" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "ico" => "image/x-icon",
            "woff2" => "font/woff2",
            "json" | "map" => "application/json",
            "webmanifest" => "application/manifest+json",
            "txt" => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }

    fn unpacked(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length);
        // Packed when the binary was built: it cannot be damaged, nor be longer than it was.
        let read = flate2::read::GzDecoder::new(self.packed).take(self.length as u64).read_to_end(&mut bytes);
        debug_assert_eq!(read.ok(), Some(self.length));
        bytes
    }
}

/// The weak comparison of RFC 9110, section 8.8.3.2; `*` is any (section 13.1.2).
fn same(asked: &str, tag: &str) -> bool {
    let asked = asked.trim();
    asked == "*" || asked.strip_prefix("W/").unwrap_or(asked) == tag
}

/// RFC 9110, section 12.5.3: gzip is named, or anything is, and not with a weight of zero.
fn takes_gzip(accepted: &str) -> bool {
    let weight = |name: &str| {
        let mut codings = accepted.split(',').map(|coding| coding.split(';'));
        let mut parts = codings.find_map(|mut parts| {
            parts.next().is_some_and(|first| first.trim().eq_ignore_ascii_case(name)).then_some(parts)
        })?;
        let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f64>().ok());
        Some(weight.unwrap_or(1.0) > 0.0)
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_unpacks_to_what_was_packed_and_has_a_type() {
        assert!(find("/").is_some_and(|index| index.kind() == "text/html; charset=utf-8"));
        for asset in ASSETS {
            let bytes = asset.unpacked();
            let mut sum = flate2::Crc::new();
            sum.update(&bytes);
            assert_eq!(format!("\"{:08x}-{:x}\"", sum.sum(), bytes.len()), asset.tag, "{}", asset.path);
            assert_ne!(asset.kind(), "application/octet-stream", "{} has no known type", asset.path);
        }
    }

    #[test]
    fn only_names_of_the_table_are_found() {
        for path in ["", "//", "/../Cargo.toml", "/index.html/", "/INDEX.HTML", "/assets/../index.html", "/etc/passwd"]
        {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for (accepted, takes) in [
            ("gzip, deflate, br", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
        ] {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
    }

    #[test]
    fn an_entity_tag_is_compared_weakly() {
        assert!(same("\"a\"", "\"a\"") && same(" W/\"a\"", "\"a\"") && same("*", "\"a\""));
        assert!(!same("\"b\"", "\"a\"") && !same("", "\"a\""));
    }
}
