//! The report over several result files: `ringway wsperf aggregate FILES…`.
//!
//! Owns: reading files of this program and of the original ones, the figures over all of them, and the printed form.
//! Never: opens a connection.
//!
//! Duration is from the first start to the last end. Handshakes/sec is the number of successes divided by it. The other
//! figures are about `open` of the connections that succeeded, as the original program defines them: SD with Bessel's
//! correction, the median `sorted[n / 2]`, and `sorted[n − ⌈n / k⌉]` for the quantile with 1/k of `n` above it.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Serialize;

use super::samples::{deviation, mean};
use super::standalone::ResultFile;

/// Smallest timestamp that is read as ns. As ns this is the year 1973, as µs the year 5138.
const NS_NOT_US: u64 = 100_000_000_000_000_000;

/// The figures over several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aggregate {
    /// From the first start to the last end.
    pub duration_s: f64,
    /// Connections.
    pub total: usize,
    /// Connections that opened.
    pub success: usize,
    /// Connections that did not open.
    pub fail: usize,
    /// `fail` in percent of `total`.
    pub fail_percent: f64,
    /// `success` divided by `duration_s`.
    pub handshakes_per_second: f64,
    /// Times of opening handshakes. None when no handshake succeeded.
    pub open_ms: Option<OpenTimes>,
}

/// A distribution of opening times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OpenTimes {
    /// The smallest.
    pub min: f64,
    /// The standard deviation.
    pub sd: f64,
    /// The arithmetic mean.
    pub avg: f64,
    /// The upper of the two middle values.
    pub median: f64,
    /// A tenth of the values is at least this.
    pub q90: f64,
    /// 1 in 20 is at least this.
    pub q95: f64,
    /// 1 in 100 is at least this.
    pub q99: f64,
    /// 1 in 1000 is at least this.
    pub q99_9: f64,
    /// 1 in 10,000 is at least this.
    pub q99_99: f64,
    /// The largest.
    pub max: f64,
}

/// Reads a result file of this program or of an original one.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn read(path: &Path) -> Result<ResultFile, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("cannot open {shown}: {error}"))?;
    serde_json::from_reader(BufReader::new(file))
        .map_err(|error| format!("{shown} is no result file of wsperf: {error}"))
}

impl Aggregate {
    /// The figures over these runs.
    ///
    /// # Errors
    /// A sentence that says why they cannot be combined.
    #[expect(
        clippy::cast_precision_loss,
        reason = "fewer than 2^53 of all that is counted"
    )]
    pub fn of(files: &[ResultFile]) -> Result<Self, String> {
        let duration_s = duration_ns(files)? as f64 / 1e9;
        let stats = || files.iter().flat_map(|file| &file.connection_stats);
        let mut open = Vec::new();
        for stats in stats().filter(|stats| !stats.failed) {
            if stats.open < 0 {
                return Err(format!(
                    "a connection that opened took {} µs for it: the file is broken",
                    stats.open
                ));
            }
            open.push(stats.open as f64 / 1000.0);
        }
        let (total, success) = (stats().count(), open.len());
        let fail = total - success;
        Ok(Self {
            duration_s,
            total,
            success,
            fail,
            fail_percent: 100.0 * fail as f64 / total.max(1) as f64,
            handshakes_per_second: if duration_s > 0.0 {
                success as f64 / duration_s
            } else {
                0.0
            },
            open_ms: OpenTimes::of(open),
        })
    }
}

/// From the first start to the last end. The first original programs did not write these; then a single file's own
/// duration is taken.
fn duration_ns(files: &[ResultFile]) -> Result<u64, String> {
    if let [file] = files
        && file.ended == 0
    {
        return Ok(file.total_duration.saturating_mul(1000));
    }
    if files
        .iter()
        .any(|file| file.started == 0 || file.ended == 0)
    {
        return Err(
            "a file without 'started' and 'ended' cannot be put together with others".to_owned(),
        );
    }
    let ns = |time: u64| if time < NS_NOT_US { time * 1000 } else { time };
    let started = files.iter().map(|file| ns(file.started)).min();
    let ended = files.iter().map(|file| ns(file.ended)).max();
    match (started, ended) {
        (Some(started), Some(ended)) => ended
            .checked_sub(started)
            .ok_or_else(|| "the last run ended before the first began".to_owned()),
        _ => Err("there is no file".to_owned()),
    }
}

impl OpenTimes {
    fn of(mut open: Vec<f64>) -> Option<Self> {
        open.sort_unstable_by(f64::total_cmp);
        let n = open.len();
        let (&min, &max) = (open.first()?, open.last()?);
        let above = |k: usize| open[n - n.div_ceil(k)];
        Some(Self {
            min,
            sd: deviation(&open),
            avg: mean(&open),
            median: open[n / 2],
            q90: above(10),
            q95: above(20),
            q99: above(100),
            q99_9: above(1000),
            q99_99: above(10_000),
            max,
        })
    }

    const fn rows(&self) -> [(&'static str, f64); 10] {
        [
            ("     Min", self.min),
            ("      SD", self.sd),
            ("     Avg", self.avg),
            ("  Median", self.median),
            ("  q90   ", self.q90),
            ("  q95   ", self.q95),
            ("  q99   ", self.q99),
            ("  q99.9 ", self.q99_9),
            ("  q99.99", self.q99_99),
            ("     Max", self.max),
        ]
    }
}

/// The report, in the layout of the original program.
impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Aggregate results (WebSocket Opening+Closing Handshake)\n"
        )?;
        writeln!(f, "          Duration: {:9.1} s", self.duration_s)?;
        writeln!(f, "             Total: {:9}", self.total)?;
        writeln!(f, "           Success: {:9}", self.success)?;
        writeln!(f, "              Fail: {:9}", self.fail)?;
        writeln!(f, "            Fail %: {:9.2}", self.fail_percent)?;
        writeln!(
            f,
            "    Handshakes/sec: {:9.0}\n",
            self.handshakes_per_second
        )?;
        let Some(open) = &self.open_ms else {
            return f.write_str("    No handshake succeeded, so there are no times.\n");
        };
        open.rows()
            .iter()
            .try_for_each(|(name, ms)| writeln!(f, "{name}: {ms:9.1} ms"))
    }
}

impl Aggregate {
    /// The figures as one JSON object.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("plain numbers");
        let _ = text.write_char('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::compat::standalone::ConnectionStats;

    /// Files as two original programs wrote them: one in µs, the other in ns and with a field that is unknown here.
    const FIRST: &str = r#"{"total_duration":1500000,"started":1400000000000000,"ended":1400000001500000,
        "handshake_throttle_count":1,"handshake_resume_count":1,"connection_stats":[
        {"tcp_pre_init":100,"tcp_post_init":2,"open":1000,"close":300,"failed":false},
        {"tcp_pre_init":100,"tcp_post_init":2,"open":4000,"close":300,"failed":false},
        {"tcp_pre_init":100,"tcp_post_init":2,"open":9000000,"close":-7,"failed":true}]}"#;
    const SECOND: &str = r#"{"wsperf":"later","total_duration":1000000,"started":1400000001000000000,
        "ended":1400000002000000000,"connection_stats":[
        {"tcp_pre_init":100,"tcp_post_init":2,"open":2000,"close":300,"failed":false},
        {"tcp_pre_init":100,"tcp_post_init":2,"open":3000,"close":300,"failed":false},
        {"tcp_pre_init":100,"tcp_post_init":2,"open":10000,"close":300,"failed":false}]}"#;

    fn file(text: &str) -> ResultFile {
        serde_json::from_str(text).expect("a result file")
    }

    /// Computed by hand: 2 s from the first start to the last end. 5 of 6 connections opened, in 1, 2, 3, 4 and 10 ms.
    /// Mean 4; squares 9 + 4 + 1 + 0 + 36 = 50, divided by 4, root 3.5; the third in order is 3; each quantile leaves one
    /// value above it, the last.
    #[test]
    fn a_report_is_as_computed_by_hand() {
        let aggregate = Aggregate::of(&[file(FIRST), file(SECOND)]).expect("good");
        let expected = "\
Aggregate results (WebSocket Opening+Closing Handshake)

          Duration:       2.0 s
             Total:         6
           Success:         5
              Fail:         1
            Fail %:     16.67
    Handshakes/sec:         2

     Min:       1.0 ms
      SD:       3.5 ms
     Avg:       4.0 ms
  Median:       3.0 ms
  q90   :      10.0 ms
  q95   :      10.0 ms
  q99   :      10.0 ms
  q99.9 :      10.0 ms
  q99.99:      10.0 ms
     Max:      10.0 ms
";
        assert_eq!(aggregate.to_string(), expected);
        assert_eq!(
            aggregate.json(),
            "{\"duration_s\":2.0,\"total\":6,\"success\":5,\"fail\":1,\"fail_percent\":16.666666666666668,\
             \"handshakes_per_second\":2.5,\"open_ms\":{\"min\":1.0,\"sd\":3.5355339059327378,\"avg\":4.0,\
             \"median\":3.0,\"q90\":10.0,\"q95\":10.0,\"q99\":10.0,\"q99_9\":10.0,\"q99_99\":10.0,\"max\":10.0}}\n"
        );
    }

    #[test]
    fn quantiles_leave_their_share_above() {
        let open = (1..=20_000).map(f64::from).rev().collect();
        let times = OpenTimes::of(open).expect("some");
        assert_eq!(
            (times.median, times.q90, times.q95),
            (10_001.0, 18_001.0, 19_001.0)
        );
        assert_eq!(
            (times.q99, times.q99_9, times.q99_99),
            (19_801.0, 19_981.0, 19_999.0)
        );
    }

    #[test]
    fn one_old_file_without_times_has_its_own_duration_and_several_have_none() {
        let old = file(r#"{"total_duration":500000,"connection_stats":[]}"#);
        let aggregate = Aggregate::of(std::slice::from_ref(&old)).expect("alone");
        assert_eq!((aggregate.duration_s, aggregate.open_ms), (0.5, None));
        assert!(
            aggregate
                .to_string()
                .ends_with("\n\n    No handshake succeeded, so there are no times.\n")
        );
        assert!(Aggregate::of(&[old.clone(), old]).is_err());
        assert!(Aggregate::of(&[]).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let backwards = ResultFile {
            started: 1_400_000_000_000_000_001,
            ended: 1_400_000_000_000_000_000,
            ..ResultFile::default()
        };
        assert_eq!(
            Aggregate::of(&[backwards]),
            Err("the last run ended before the first began".to_owned())
        );
        let open = -1;
        let wrapped = ResultFile {
            connection_stats: vec![ConnectionStats {
                open,
                ..ConnectionStats::default()
            }],
            ..ResultFile::default()
        };
        assert_eq!(
            Aggregate::of(&[wrapped]),
            Err("a connection that opened took -1 µs for it: the file is broken".to_owned())
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_no_result_says_so() {
        let missing = read(Path::new("no/such.json")).expect_err("missing");
        assert!(
            missing.starts_with("cannot open no/such.json: "),
            "{missing}"
        );
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let other = read(manifest).expect_err("TOML");
        assert!(other.contains(" is no result file of wsperf: "), "{other}");
    }
}
