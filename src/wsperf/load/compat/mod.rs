//! The command protocol and file formats of the two original programs called wsperf, so that whatever drives them or
//! reads their files works with this one.
//!
//! Owns: the command protocol of the WebSocket++ example (commands as text, replies as JSON, over a control WebSocket),
//! the page that sends commands from a browser, the result file of the standalone program, and the report over several
//! such files.
//! Never: makes a frame or a system call of the data path itself.
//!
//! [`command`], [`reply`], [`standalone`] and [`aggregate`] convert between text and plain values; [`run`] measures,
//! [`serve`] listens.
//!
//! Faults of the original programs, and what this one does:
//!
//! | original | here |
//! |---|---|
//! | a last parameter without `;` is lost, silently | it is an error that names it |
//! | the search for `=` runs on past the `;`, so a parameter without `=` swallows the next one | each parameter is cut at its `;` first |
//! | parameters that are unknown, or given twice, are ignored | they are errors: a test that was misspelt is not the test that was asked for |
//! | a number that is negative or too large wraps around; nothing is limited | decimal digits only; every parameter has its limit ([`command`]) |
//! | `msg_mode`, `con_lifetime` and `con_duration` are read and not used | they are used |
//! | `msg_count=0` sends one message all the same | it sends none |
//! | `timeout=0` and `stress_test` can hang for ever | every test ends within [`TEST_MAX`](command::TEST_MAX) |
//! | tokens and messages go into the JSON as they are, so a quote breaks it | they are escaped |
//! | "Invalid size parameter." leaves you guessing | the same text in `data`, and the reason in the additional field `detail` |
//! | with `sync=false` all messages are queued at once, whatever memory that takes | at most 1024 messages and 4 MiB wait for their answers |
//! | times are taken between answers, so with `sync=false` they are no round trips | from each message's hand-over to its own answer |
//! | the moment of a time-out counts as an answer | only answers count |
//! | quantile buckets of `n / quantile_count` samples: the remainder is written past the array, and with no more samples than buckets every figure is 0 | buckets at the ranks ⌈i·n/q⌉ for any `n` and `q` ([`samples`]) |
//! | one sample has a standard deviation of 0/0 | it has one of 0 |
//! | `started` and `ended` of the result file are in µs or ns, as the C++ library likes | ns since 1970-01-01 UTC, as in the later fork; both are read |
//! | times are C `int`s, so a close after 36 minutes is negative; those of a step that was never reached are arbitrary | 64 bits; a step that was not reached takes 0 |
//! | with `num_threads=0` a test runs inside the control connection's handler, and nothing is heard until it ends | 0 is 1 |
//! | `stress_test` counts whatever arrives as the answer | an answer that differs, or takes 30 s, fails its connection |
//! | any page in any browser can drive the control server, against any machine | pages of its own host can, and only servers on this machine are tested, unless it is told otherwise |
//! | the standalone program closes with 1001, as if it were going away, and begins more below the low mark | it closes with 1000, and begins more at the low mark |
//! | the report mixes the times of failed handshakes into `open`, and stops at an empty file | only handshakes that succeeded have an opening time; without any, it says so |

pub mod aggregate;
pub mod command;
pub mod reply;
pub mod run;
pub mod samples;
pub mod serve;
pub mod standalone;
pub mod uri;
