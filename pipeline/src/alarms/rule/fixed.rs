//! Numbers of rules: decimals with six places, so that what is written, compared and printed is the same number.

use std::fmt;
use std::str::FromStr;

/// A number from 0 to some ten million, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed {
    millionths: u64,
}

impl Fixed {
    /// So many millionths.
    #[must_use]
    pub const fn millionths(millionths: u64) -> Self {
        Self { millionths }
    }

    /// As a float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most 14 digits")]
    pub fn get(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

impl FromStr for Fixed {
    type Err = ();

    /// `0.05`, or `5%`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, percent) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (text.trim(), false),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let places = if percent { 4 } else { 6 };
        if !digits(whole) || !digits(part) || part.len() > places || whole.len() > 7 {
            return Err(());
        }
        let part: u64 = format!("{part:0<places$}").parse().map_err(|_| ())?;
        let whole: u64 = whole.parse().map_err(|_| ())?;
        let unit = if percent { 10_000 } else { 1_000_000 };
        Ok(Self { millionths: whole * unit + part })
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:06}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_exactly_and_shown_shortest() {
        for (text, shown) in [("5%", "0.05"), ("99.9%", "0.999"), ("14.4", "14.4"), ("1", "1"), ("0.0001%", "0.000001")]
        {
            assert_eq!(text.parse::<Fixed>().unwrap().to_string(), shown);
        }
        for text in ["", "-1", "1e3", "%", ".5", "1.", "0.1234567", "99999999"] {
            assert!(text.parse::<Fixed>().is_err(), "{text}");
        }
    }
}
