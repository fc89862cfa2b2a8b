//! What a sweep increases and which bound must hold, as typed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::load::outcome::Latency;
use crate::load::report::units;

/// What grows from point to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Messages per second, in an open loop.
    Rate,
    /// Connections.
    Connections,
}

impl FromStr for Over {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rate" => Ok(Self::Rate),
            "connections" => Ok(Self::Connections),
            _ => Err(format!("'{text}' does not grow: rate or connections")),
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
        })
    }
}

/// A figure of a latency distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The arithmetic mean.
    Mean,
    /// The median.
    P50,
    /// 90 %.
    P90,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
    /// 99.99 %.
    P9999,
    /// The largest.
    Max,
}

impl Measure {
    /// All measures with their names. A percentile may be typed with a decimal point too.
    const NAMES: [(Self, &'static str, &'static str); 7] = [
        (Self::Mean, "mean", "mean"),
        (Self::P50, "p50", "p50"),
        (Self::P90, "p90", "p90"),
        (Self::P99, "p99", "p99"),
        (Self::P999, "p99.9", "p999"),
        (Self::P9999, "p99.99", "p9999"),
        (Self::Max, "max", "max"),
    ];

    /// This figure of a distribution.
    pub const fn of(self, latency: &Latency) -> f64 {
        match self {
            Self::Mean => latency.mean,
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P999 => latency.p999,
            Self::P9999 => latency.p9999,
            Self::Max => latency.max,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(measure, ..)| measure == self);
        f.write_str(name.map_or("", |(_, name, _)| name))
    }
}

/// A latency that must not be exceeded: `p99=1ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// The figure that is bounded.
    pub measure: Measure,
    /// The limit in microseconds.
    pub limit_us: f64,
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no bound: a percentile and a time, like p99=1ms");
        let (name, limit) = text.split_once('=').ok_or_else(wrong)?;
        let known = Measure::NAMES.iter();
        let mut known = known.filter(|(_, one, two)| name == *one || name == *two);
        let (measure, ..) = known.next().ok_or_else(wrong)?;
        let digits = limit.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, unit) = limit.split_at(digits.unwrap_or(limit.len()));
        let us = match unit {
            "us" | "µs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if number <= 0.0 {
            return Err(wrong());
        }
        let limit_us = number * us;
        Ok(Self {
            measure: *measure,
            limit_us,
        })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ≤ {}", self.measure, units::time(self.limit_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_a_percentile_and_a_time() {
        let cases = [
            ("p99=1ms", Measure::P99, 1000.0, "p99 ≤ 1.00 ms"),
            ("p99.9=250us", Measure::P999, 250.0, "p99.9 ≤ 250 µs"),
            ("p9999=2.5s", Measure::P9999, 2.5e6, "p99.99 ≤ 2.50 s"),
            ("mean=50µs", Measure::Mean, 50.0, "mean ≤ 50.0 µs"),
        ];
        for (text, measure, limit_us, shown) in cases {
            let bound: Bound = text.parse().expect(text);
            assert_eq!(bound, Bound { measure, limit_us });
            assert_eq!(bound.to_string(), shown);
        }
        for text in [
            "p99",
            "p98=1ms",
            "p99=1",
            "p99=ms",
            "p99=0ms",
            "p99=-1ms",
            "p99=1.2.3ms",
        ] {
            let error = text.parse::<Bound>().expect_err(text);
            assert_eq!(
                error,
                format!("'{text}' is no bound: a percentile and a time, like p99=1ms")
            );
        }
    }

    #[test]
    fn rate_and_connections_grow() {
        assert_eq!("rate".parse(), Ok(Over::Rate));
        assert_eq!("connections".parse(), Ok(Over::Connections));
        let error = "threads".parse::<Over>();
        assert_eq!(
            error,
            Err("'threads' does not grow: rate or connections".to_owned())
        );
    }
}
