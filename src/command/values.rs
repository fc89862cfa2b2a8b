//! The values of options as users write them: durations, sizes, switches.
//!
//! Owns: both directions, text to value and value to text. A printed text parses to the same value. Never: knows which
//! option has the value.

use std::time::Duration;

/// Parses `10s`, `250ms`, `1.5m`, `2h`, `50us`, or a bare number of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let ns_per_unit: u64 = match unit {
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    scaled(number, ns_per_unit).map(Duration::from_nanos)
}

/// Parses `1000`, `64KiB`, `16MiB`, `5k`, `1GB`: bytes or plain counts. A binary suffix is a power of 1024, a decimal
/// one of 1000.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    scaled(number, factor)
}

/// Parses a switch.
pub fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The shortest exact text of a duration.
pub fn show_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let units = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ];
    match units
        .into_iter()
        .find(|(_, unit)| ns != 0 && ns.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", ns / unit),
        None if ns == 0 => "0".to_owned(),
        None => format!("{}us", ns / 1000),
    }
}

/// The shortest exact text of a size.
pub fn show_size(size: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units
        .into_iter()
        .find(|(_, unit)| size != 0 && size.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", size / unit),
        None => size.to_string(),
    }
}

/// Number and unit, with blanks between them allowed.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `number × factor` without floating point. `number` has digits, at most one point, and `_` between digits. `None` if
/// the product is no whole number: nothing is rounded.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let digits = number.replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let tens = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let value = whole.parse::<u64>().ok()?;
    let scaled = (u128::from(value) * tens + fraction) * u128::from(factor);
    scaled
        .is_multiple_of(tens)
        .then_some(scaled / tens)
        .and_then(|value| u64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bare_numbers_are_seconds() {
        let cases = [
            ("10s", 10_000_000),
            ("250ms", 250_000),
            ("1m", 60_000_000),
            ("1.5m", 90_000_000),
            ("2h", 7_200_000_000),
            ("5", 5_000_000),
            ("0.25", 250_000),
            ("50us", 50),
            ("0", 0),
            (" 3 s ", 3_000_000),
        ];
        for (text, us) in cases {
            assert_eq!(duration(text), Some(Duration::from_micros(us)), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        let cases = [
            ("64KiB", 65_536),
            ("16MiB", 16_777_216),
            ("1000", 1_000),
            ("5k", 5_000),
            ("1.5kb", 1_500),
            ("2GiB", 2_147_483_648),
            ("1_000", 1_000),
            ("7B", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_none() {
        for text in [
            "",
            "s",
            "-1s",
            "1x",
            "1.2.3s",
            "1e3",
            "99999999999999999999s",
            "0x10",
            "ten",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in [
            "",
            "KiB",
            "-5",
            "1KiBB",
            "0.3",
            "99999999999999999999",
            "1.5B",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(switch("maybe"), None);
    }

    #[test]
    fn what_is_shown_parses_back() {
        for (us, text) in [
            (0, "0"),
            (50, "50us"),
            (250_000, "250ms"),
            (5_000_000, "5s"),
            (90_000_000, "90s"),
        ] {
            assert_eq!(show_duration(Duration::from_micros(us)), text);
            assert_eq!(duration(text), Some(Duration::from_micros(us)));
        }
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (65_536, "64KiB"),
            (16 << 20, "16MiB"),
        ] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(size(text), Some(bytes));
        }
    }
}
