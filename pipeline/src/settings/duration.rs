//! Stretches of time as they are written: `250ms`, `5m`, `1h`.

use std::time::Duration;

/// A whole number with `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number = number.parse::<u64>().ok()?;
    let seconds = match unit.trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// The shortest way to write it.
#[must_use]
pub(crate) fn show(value: Duration) -> String {
    let seconds = value.as_secs();
    if value.subsec_millis() != 0 {
        return format!("{}ms", value.as_millis());
    }
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}
