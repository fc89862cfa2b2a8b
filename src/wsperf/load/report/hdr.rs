//! Latency distributions in HdrHistogram's own forms: a histogram as text, a run as an interval log, and the percentiles
//! of both.
//!
//! Owns: these encodings. Never: records a value; the driver's threads do, in ns.

use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use hdrhistogram::serialization::{
    DeserializeError, Deserializer, Serializer as _, V2DeflateSerializer,
};

use crate::load::outcome::{Latency, Outcome};

/// A histogram of ns as [`encode`] writes it, and its interval: start from the beginning of the window, and length. It is
/// kept as text, because a run has thousands of them.
pub type IntervalHistogram = (Duration, Duration, String);

/// Most bytes of text that [`decode`] accepts. Our own histograms, with three digits up to a minute, stay below 64 KiB.
const TEXT_LEN_MAX: usize = 4 << 20;

/// Divisor of the third column of the log, which is for people. The readers of the Java and Python tools expect
/// nanoseconds there as milliseconds (`HistogramLogWriter`'s default).
const LOG_MAX_DIVISOR: f64 = 1e6;

impl Latency {
    /// The percentiles, in µs, of a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        // A quantile is the upper end of its bucket, which can be above the largest recorded value.
        let max = histogram.max();
        let at = |quantile| us(histogram.value_at_quantile(quantile).min(max));
        Self {
            samples: histogram.len(),
            min: us(histogram.min()),
            mean: histogram.mean() / 1e3,
            stddev: histogram.stdev() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: us(max),
        }
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The histogram as text: HdrHistogram V2, deflated, base64. Every HdrHistogram implementation reads it.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a Vec takes every write, and histograms of minutes fit 32 bits of length");
    BASE64.encode(bytes)
}

/// Reads a histogram that [`encode`] or another program wrote.
pub fn decode(text: &str) -> Result<Histogram<u64>, DecodeError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(DecodeError::TooLong(text.len()));
    }
    let bytes = BASE64.decode(text).map_err(DecodeError::Base64)?;
    Deserializer::new()
        .deserialize(&mut &bytes[..])
        .map_err(DecodeError::Histogram)
}

/// Why a text is no histogram.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than any histogram of a run can be.
    TooLong(usize),
    /// Not base64.
    Base64(base64::DecodeError),
    /// Not HdrHistogram V2, or damaged.
    Histogram(DeserializeError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "{len} characters are too many for a histogram"),
            Self::Base64(error) => write!(f, "the histogram is not base64: {error}"),
            Self::Histogram(error) => write!(f, "the histogram is not HdrHistogram V2: {error}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Writes the interval log of a run: a line per interval, tagged with the scenario, in the format (V2, deflated) that
/// HdrHistogram's log readers, plotter and processors understand. Values are in ns.
pub fn write_log(
    out: &mut impl io::Write,
    outcome: &Outcome,
    intervals: &[IntervalHistogram],
) -> io::Result<()> {
    let began = UNIX_EPOCH + Duration::from_millis(outcome.began_unix_ms);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!(
            "[ringway wsperf {} {}; values in nanoseconds: {}]",
            outcome.version, outcome.scenario, outcome.latency_is
        ))
        // Writes StartTime and BaseTime: with BaseTime alone the Java reader takes the first interval's offset for the
        // start.
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(LOG_MAX_DIVISOR)
        .begin_log_with(out, &mut serializer)?;
    for (start, length, text) in intervals {
        let histogram = decode(text).map_err(io::Error::other)?;
        log.write_histogram(&histogram, *start, *length, Tag::new(&outcome.scenario))
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        for value in values {
            histogram.record(value).expect("within the bounds");
        }
        histogram
    }

    #[test]
    fn latency_is_in_microseconds() {
        let latency = Latency::of(&histogram((1..=1000).map(|us| us * 1000)));
        assert_eq!(latency.samples, 1000);
        let figures = [
            (latency.min, 1.0),
            (latency.mean, 500.5),
            (latency.stddev, 288.7),
            (latency.p50, 500.0),
            (latency.p90, 900.0),
            (latency.p99, 990.0),
            (latency.p999, 999.0),
            (latency.p9999, 1000.0),
            (latency.max, 1000.0),
        ];
        for (found, expected) in figures {
            assert!(
                (found / expected - 1.0).abs() < 0.002,
                "{found} for {expected}"
            );
        }
        assert!(latency.p9999 <= latency.max);
    }

    #[test]
    fn no_samples_give_zeros() {
        assert_eq!(Latency::of(&histogram([])), Latency::default());
    }

    #[test]
    fn a_histogram_comes_back_from_its_text() {
        let histogram = histogram([1, 20_000, 20_000, 59_000_000_000]);
        let text = encode(&histogram);
        assert!(text.starts_with("HISTF"), "{text}");
        assert_eq!(decode(&text).expect("our own"), histogram);
    }

    #[test]
    fn what_is_no_histogram_is_refused_with_a_reason() {
        let refused = |text: &str| decode(text).expect_err("no histogram").to_string();
        assert!(refused("?").starts_with("the histogram is not base64"));
        assert!(refused("AAAAAAAA").starts_with("the histogram is not HdrHistogram V2"));
        assert!(refused("").starts_with("the histogram is not HdrHistogram V2"));
        let cut = encode(&histogram([7; 100]))[..40].to_owned();
        assert!(refused(&cut).starts_with("the histogram is not HdrHistogram V2"));
        assert_eq!(
            refused(&"A".repeat(4_194_305)),
            "4194305 characters are too many for a histogram"
        );
    }

    #[test]
    fn the_log_has_a_line_for_each_interval() {
        let outcome = Outcome {
            version: "0.1.0".to_owned(),
            scenario: "echo".to_owned(),
            began_unix_ms: 1_700_000_000_250,
            latency_is: "from A to B".to_owned(),
            ..Outcome::default()
        };
        let second = Duration::from_secs(1);
        let intervals = [
            (Duration::ZERO, second, encode(&histogram([1_000_000]))),
            (
                second,
                second / 2,
                encode(&histogram([2_000_000, 3_000_000])),
            ),
        ];
        let mut log = Vec::new();
        write_log(&mut log, &outcome, &intervals).expect("a Vec takes every write");
        let text = String::from_utf8(log.clone()).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..5],
            [
                "#[Histogram log format version 1.3]",
                "#[ringway wsperf 0.1.0 echo; values in nanoseconds: from A to B]",
                "#[StartTime: 1700000000.250 (seconds since epoch)]",
                "#[BaseTime: 1700000000.250 (seconds since epoch)]",
                "#[MaxValueDivisor: 1000000.000]",
            ]
        );
        assert!(lines[5].starts_with("Tag=echo,0.000,1.000,1.000,HISTF"));
        assert!(lines[6].starts_with("Tag=echo,1.000,0.500,3.000,HISTF"));
        let last = IntervalLogIterator::new(&log).last();
        let Some(Ok(LogEntry::Interval(last))) = last else {
            panic!("{last:?}");
        };
        let back = decode(last.encoded_histogram()).expect("our own");
        assert_eq!(back, histogram([2_000_000, 3_000_000]));
    }
}
