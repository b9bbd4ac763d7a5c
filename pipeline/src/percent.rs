//! Percent-encoding (RFC 3986, section 2.1), undone. Absent: which characters would have had to be encoded.

/// Without percent-encoding; what is not encoded right stays.
pub(crate) fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = (first == b'%').then(|| after.split_at_checked(2)).flatten();
        let byte = digits.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn what_is_encoded_right_is_decoded_and_the_rest_stays() {
        for (text, plain) in
            [("a%20b", "a b"), ("100%", "100%"), ("%2", "%2"), ("%zz%41", "%zzA"), ("%+1", "%+1"), ("", "")]
        {
            assert_eq!(decoded(text.as_bytes()), plain.as_bytes(), "{text}");
        }
    }
}
