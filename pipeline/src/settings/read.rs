//! Turns what was written into values that cannot be wrong; what cannot be turned is collected, not returned.

use super::CpuShare;
use super::duration::{parse as parse_duration, show as show_duration};
use super::error::Problem;
use super::keys::HIDDEN;
use super::keys::{is_address, is_secret, shown_address};
use super::layers::MAX_ENTRIES;
use super::said::{Layers, Said, Tables, Written};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Reads typed values out of layers.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn one(&self, path: &str) -> &str {
        match self.layers.get(path).map(|said| &said.value) {
            Some(Written::One(text)) => text.trim(),
            _ => "",
        }
    }

    /// Who said so; of an entry of a table, who said the table.
    fn said(&self, path: &str) -> Option<&Said> {
        self.layers.get(path).or_else(|| self.layers.get(path.rsplit_once('.')?.0))
    }

    fn list(&self, path: &str) -> &[String] {
        match self.layers.get(path).map(|said| &said.value) {
            Some(Written::List(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn problem(&mut self, path: &str, value: &str, what: impl Display, remedy: impl Display) {
        self.problem_under(path, path, value, what, remedy);
    }

    /// A problem with something inside of the value of `key`.
    pub(super) fn problem_under(
        &mut self,
        key: &str,
        path: &str,
        value: &str,
        what: impl Display,
        remedy: impl Display,
    ) {
        let origin = self.said(key).map(|said| said.origin.clone()).unwrap_or_default();
        let address = is_address(key).then(|| shown_address(value)).flatten();
        let value = address.as_deref().unwrap_or(value);
        self.problems.push(Problem {
            key: path.to_owned(),
            value: if is_secret(key) || is_secret(path) { HIDDEN } else { value }.to_owned(),
            origin,
            what: what.to_string(),
            remedy: remedy.to_string(),
        });
    }

    /// One of a closed list of words. Falls back to the first where the text is none of them.
    pub(super) fn word<T: Copy>(&mut self, path: &str, first: (&str, T), rest: &[(&str, T)]) -> T {
        let text = self.one(path).to_owned();
        if text == first.0 {
            return first.1;
        }
        if let Some(&(_, value)) = rest.iter().find(|(word, _)| *word == text) {
            return value;
        }
        let words: Vec<&str> = std::iter::once(first.0).chain(rest.iter().map(|(word, _)| *word)).collect();
        self.problem(path, &text, "is not one of the words known here", format!("write {}", words.join(", ")));
        first.1
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, path: &str, range: RangeInclusive<usize>) -> usize {
        let text = self.one(path).to_owned();
        match text.parse::<usize>() {
            Ok(value) if range.contains(&value) => value,
            Ok(_) => self.out_of_range(path, &text, range.start(), range.end(), *range.start()),
            Err(_) => {
                let remedy = format!("write a whole number from {} to {}", range.start(), range.end());
                self.problem(path, &text, "is not a whole number", remedy);
                *range.start()
            }
        }
    }

    fn out_of_range<T>(&mut self, path: &str, text: &str, from: impl Display, to: impl Display, fallback: T) -> T {
        self.problem(path, text, "is out of range", format!("write a value from {from} to {to}"));
        fallback
    }

    /// A power of two of bytes in a range; zero too where `zero` says so.
    pub(super) fn power_of_two(&mut self, path: &str, range: RangeInclusive<usize>, zero: bool) -> usize {
        let text = self.one(path).to_owned();
        match parse_bytes(&text) {
            Some(0) if zero => 0,
            Some(value) if !range.contains(&value) => {
                self.out_of_range(path, &text, show_bytes(*range.start()), show_bytes(*range.end()), *range.start())
            }
            Some(value) if !value.is_power_of_two() => {
                let (below, above) = (value.next_power_of_two() / 2, value.next_power_of_two());
                let remedy = format!("write {} or {}", show_bytes(below), show_bytes(above));
                self.problem(path, &text, "is not a power of two", remedy);
                below
            }
            Some(value) => value,
            None => {
                self.problem(path, &text, "is not a size", "write a number of bytes, or one with KiB, MiB or GiB");
                *range.start()
            }
        }
    }

    /// A number of bytes in a range.
    pub(super) fn bytes(&mut self, path: &str, range: RangeInclusive<usize>) -> usize {
        let text = self.one(path).to_owned();
        match parse_bytes(&text) {
            Some(value) if range.contains(&value) => value,
            Some(_) => {
                self.out_of_range(path, &text, show_bytes(*range.start()), show_bytes(*range.end()), *range.start())
            }
            None => {
                self.problem(path, &text, "is not a size", "write a number of bytes, or one with KiB, MiB or GiB");
                *range.start()
            }
        }
    }

    /// True or false.
    pub(super) fn truth(&mut self, path: &str) -> bool {
        self.word(path, ("false", false), &[("true", true)])
    }

    /// A text; `None` if it is empty.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        Some(self.one(path)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A value that does not go with others.
    pub(super) fn refuse(&mut self, path: &str, what: &str, remedy: &str) {
        let text = self.one(path).to_owned();
        self.problem(path, &text, what, remedy);
    }

    /// A stretch of time in a range.
    pub(super) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Duration {
        let text = self.one(path).to_owned();
        match parse_duration(&text) {
            Some(value) if range.contains(&value) => value,
            Some(_) => {
                let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
                self.out_of_range(path, &text, from, to, *range.start())
            }
            None => {
                self.problem(
                    path,
                    &text,
                    "is not a stretch of time",
                    "write a number with ms, s, m, h or d, such as 30s",
                );
                *range.start()
            }
        }
    }

    /// A share of processor time in percent; `None` for 0 and for `off`.
    pub(super) fn cpu_share(&mut self, path: &str) -> Option<CpuShare> {
        let text = self.one(path).to_owned();
        let (least, most) = CpuShare::BOUNDS;
        match parse_percent(&text) {
            _ if text == "off" => None,
            Some(0) => None,
            Some(millionths) if (least..=most).contains(&CpuShare { millionths }) => Some(CpuShare { millionths }),
            Some(_) => self.out_of_range(path, &text, "0.1%", "10000%, or 0 for no bound", None),
            None => {
                self.problem(
                    path,
                    &text,
                    "is not a share in percent",
                    "write one such as 2% or 0.5%, or 0 for no bound",
                );
                None
            }
        }
    }

    /// Anything with a parser of its own.
    pub(super) fn parsed<T: FromStr>(&mut self, path: &str, fallback: T, what: &str, remedy: &str) -> T {
        let text = self.one(path).to_owned();
        if let Ok(value) = text.parse() {
            return value;
        }
        self.problem(path, &text, what, remedy);
        fallback
    }

    /// One value, turned by `turn`, which answers with what is wrong and what to do.
    pub(super) fn turned<T>(
        &mut self,
        path: &str,
        fallback: T,
        turn: impl FnOnce(&str) -> Result<T, (&'static str, &'static str)>,
    ) -> T {
        let text = self.one(path).to_owned();
        turn(&text).unwrap_or_else(|(what, remedy)| {
            self.problem(path, &text, what, remedy);
            fallback
        })
    }

    /// A list, each entry turned by `turn`, which answers with what is wrong and what to do.
    pub(super) fn entries<T>(
        &mut self,
        path: &str,
        most: usize,
        turn: impl Fn(&str) -> Result<T, (&'static str, &'static str)>,
    ) -> Vec<T> {
        let items = self.list(path).to_vec();
        if items.len() > most.min(MAX_ENTRIES) {
            let (shown, most) = (format!("{} entries", items.len()), most.min(MAX_ENTRIES));
            self.problem(path, &shown, "is too long", format!("at most {most} entries fit"));
        }
        let mut values = Vec::new();
        for item in items.iter().take(most.min(MAX_ENTRIES)) {
            match turn(item.trim()) {
                Ok(value) => values.push(value),
                Err((what, remedy)) => self.problem(path, item, what, remedy),
            }
        }
        values
    }

    /// Tables by name.
    pub(super) fn tables(&self, path: &str) -> Tables {
        match self.layers.get(path).map(|said| &said.value) {
            Some(Written::Tables(tables)) => tables.clone(),
            _ => Tables::new(),
        }
    }

    /// A table of names.
    pub(super) fn table(&mut self, path: &str) -> BTreeMap<String, String> {
        let table = match self.layers.get(path).map(|said| &said.value) {
            Some(Written::Table(table)) => table.clone(),
            _ => BTreeMap::new(),
        };
        if table.len() > MAX_ENTRIES {
            let shown = format!("{} entries", table.len());
            self.problem(path, &shown, "is too long", format!("at most {MAX_ENTRIES} entries fit"));
        }
        for (name, value) in &table {
            if value.trim().is_empty() {
                self.problem(&format!("{path}.{name}"), value, "is empty", "write a value or remove the entry");
            }
        }
        table
    }
}

/// Percent with at most four decimals, in millionths; a zero may do without its sign. Beyond what fits: the most that does.
fn parse_percent(text: &str) -> Option<u32> {
    let number = match text.strip_suffix('%') {
        Some(number) => number.trim_end(),
        None if !text.is_empty() && text.bytes().all(|byte| byte == b'0') => text,
        None => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 4 {
        return None;
    }
    // The ten-thousandths, filled up on the right.
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    let whole = whole.parse::<u32>().unwrap_or(u32::MAX);
    Some(whole.saturating_mul(10_000).saturating_add(part))
}

/// A share from 0 to 1 in millionths: percent, or a decimal fraction as the OpenTelemetry variables have it.
pub(super) fn parse_ratio(text: &str) -> Option<u32> {
    let percent = if text.ends_with('%') {
        text.to_owned()
    } else {
        let fraction = text.parse::<f64>().ok().filter(|fraction| (0.0..=1.0).contains(fraction))?;
        format!("{:.4}%", fraction * 100.0)
    };
    parse_percent(&percent).filter(|&millionths| millionths <= 1_000_000)
}

/// Bytes: a number, or one with `KiB`, `MiB` or `GiB` (also `K`, `M`, `G`, in powers of 1024).
fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

fn show_bytes(bytes: usize) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_sizes() {
        assert_eq!(parse_bytes("4MiB"), Some(4 << 20));
        assert_eq!(parse_bytes("64 KiB"), Some(65_536));
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("4MB"), None, "powers of ten are not guessed at");
        assert_eq!(parse_bytes("MiB"), None);
        assert_eq!(parse_bytes("99999999999999GiB"), None);
        assert_eq!(parse_bytes("-1"), None);
        assert_eq!(show_bytes(4 << 20), "4MiB");
        assert_eq!(show_bytes(3 << 9), "1536");
    }

    #[test]
    fn reads_percent_to_the_fourth_decimal() {
        assert_eq!(parse_percent("2%"), Some(20_000));
        assert_eq!(parse_percent("0.2 %"), Some(2_000));
        assert_eq!(parse_percent("0.0625%"), Some(625));
        assert_eq!(parse_percent("150%"), Some(1_500_000));
        assert_eq!((parse_percent("0"), parse_percent("0%"), parse_percent("0.0%")), (Some(0), Some(0), Some(0)));
        assert_eq!(parse_percent("99999999999%"), Some(u32::MAX));
        for text in ["2", "", "%", "-1%", "+1%", "1.%", ".5%", "1.23456%", "1e2%", "two%", "2 percent"] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
    }

    #[test]
    fn reads_and_shows_durations() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("30"), None, "a unit is asked for");
        assert_eq!(parse_duration("1w"), None);
        assert_eq!(parse_duration("99999999999999999d"), None);
        assert_eq!(show_duration(Duration::from_secs(604_800)), "7d");
        assert_eq!(show_duration(Duration::from_millis(100)), "100ms");
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
    }
}
