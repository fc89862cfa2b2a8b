//! Numbers for people: three digits and a unit, thousands separated, shares in per cent, instants as dates.
//!
//! Owns: every unit that tables and pages print. Never: decides what is printed.

/// Microseconds with three digits and a fitting unit: `950 ns`, `12.3 µs`, `1.23 ms`, `60.0 s`.
pub(super) fn time(us: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1e-3), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
    if us == 0.0 {
        return "0".to_owned();
    }
    // A value that rounds up to 1000 belongs to the next unit.
    let unit = UNITS
        .into_iter()
        .rfind(|(_, unit)| us.abs() >= unit * 0.9995);
    let (name, unit) = unit.unwrap_or(UNITS[0]);
    format!("{} {name}", digits(us / unit))
}

/// A count or a rate with three digits and a decimal unit: `999`, `1.23k`, `456M`.
pub(super) fn count(value: f64) -> String {
    const UNITS: [(&str, f64); 5] = [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
    if value.trunc() == value && value.abs() < 1e3 {
        return format!("{value:.0}");
    }
    let unit = UNITS
        .into_iter()
        .rfind(|(_, unit)| value.abs() >= unit * 0.9995);
    let (name, unit) = unit.unwrap_or(UNITS[0]);
    format!("{}{name}", digits(value / unit))
}

/// Bytes with three digits and a binary unit: `512 B`, `1.50 KiB`, `3.00 GiB`.
pub(super) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let text = if unit == 0 && scaled.trunc() == scaled {
        format!("{scaled:.0}")
    } else {
        digits(scaled)
    };
    format!("{text} {}", UNITS[unit])
}

/// A share as percent, without decimals: 1.5 is `150 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A whole number with separated thousands: `1,234,567`.
pub(super) fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let (sign, digits) = plain
        .strip_prefix('-')
        .map_or(("", &*plain), |rest| ("-", rest));
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate per second: thousands separated, with decimals when it is small.
pub(super) fn rate(per_second: f64) -> String {
    match per_second.abs() {
        ..99.95 if per_second != 0.0 => digits(per_second),
        _ => grouped(per_second),
    }
}

/// Three significant digits of a number below 1000; more above it.
fn digits(value: f64) -> String {
    match value.abs() {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Milliseconds since 1970 as `2026-11-20 13:05:09 UTC`.
pub(super) fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970_u64;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // A result file can hold any number: the year stops at 9999, so the loop is bounded.
    while days >= 365 + u64::from(leap(year)) && year < 9999 {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let day = days + 1;
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0"),
            (0.95, "950 ns"),
            (0.9996, "1.00 µs"),
            (12.34, "12.3 µs"),
            (999.9, "1.00 ms"),
            (45_600.0, "45.6 ms"),
            (60_000_000.0, "60.0 s"),
            (3_600_000_000.0, "3600 s"),
        ];
        for (us, text) in cases {
            assert_eq!(time(us), text);
        }
    }

    #[test]
    fn counts_take_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.50"),
            (12.0, "12"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (2.5e13, "25.0T"),
        ];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn bytes_are_binary() {
        let texts = [0.0, 512.0, 1024.0, 1_572_864.0, 320.5].map(bytes);
        assert_eq!(texts, ["0 B", "512 B", "1.00 KiB", "1.50 MiB", "320 B"]);
    }

    #[test]
    fn thousands_are_apart() {
        let texts = [0.0, 999.0, 1000.0, 1_234_567.4, -12_345.0].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567", "-12,345"]);
        assert_eq!([0.0, 2.5, 1500.4].map(rate), ["0", "2.50", "1,500"]);
    }

    #[test]
    fn instants_are_dates() {
        let cases = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_868_799_000, "2000-02-29 23:59:59 UTC"),
            (1_700_000_000_250, "2023-11-14 22:13:20 UTC"),
            (1_798_761_599_000, "2026-12-31 23:59:59 UTC"),
        ];
        for (unix_ms, text) in cases {
            assert_eq!(date(unix_ms), text);
        }
    }
}
