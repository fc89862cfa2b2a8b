//! `ringway testee`: the client that the Autobahn testsuite's fuzzing server tests.
//!
//! ```text
//!  /getCaseCount ──▶ N     /runCase?case=1&agent=… ──▶ echo until the server closes … N     /updateReports?agent=… ──▶ end
//! ```
//!
//! One connection after the other, on one worker in the client's role.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ringway::io::{Address, ConnectOptions, Io};
use ringway::proto::deflate::Direction;
use ringway::proto::{CloseCode, Limits, Message};
use ringway::tls::TlsClient;
use ringway::worker::{
    App, Closed, Config, Context, Failure, Handle, OpeningRequest, Scope, Worker,
};
use ringway::{Deflate, Exit, Fatal, supervise};
use std::path::PathBuf;
use wsperf::load::addresses;
use wsperf::load::compat::uri::Uri;
use wsperf::load::options::IoTier;
use wsperf::load::route::Route;
use wsperf::load::tier::{Task, on};
use wsperf::load::tls::TlsTrust;

pub(super) const EXAMPLE: &str = "\
Example:
  ringway testee ws://127.0.0.1:9001 --io=epoll";

pub(super) const CODES: &str = "\
Exit codes:
  0  every case has run; the verdicts are in the server's report
  2  bad option or value
  3  the server cannot be reached, or the system refused something";

/// Bytes of a frame and of a message: the testsuite's largest have 16 MiB.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Bytes queued for the server: it stops reading for a while now and then.
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// Time for an opening or a closing handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks whether the socket of the last case has ended.
const SOCKET_LOOK: Duration = Duration::from_millis(2);

/// Options of `ringway testee`.
#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct TesteeArgs {
    /// The fuzzing server
    #[arg(value_name = "URI", default_value = "ws://127.0.0.1:9001")]
    uri: String,
    /// Name of the client in the report
    #[arg(long, value_name = "NAME", default_value = "Ringway")]
    agent: String,
    /// I/O of the worker: auto, uring or epoll
    #[arg(long, value_name = "TIER", default_value = "auto", value_parser = tier)]
    io: IoTier,
    /// Offer permessage-deflate (RFC 7692)
    #[arg(long, value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set)]
    deflate: bool,
    /// Offer permessage-snappy
    #[cfg(feature = "snappy")]
    #[arg(long)]
    snappy: bool,
    /// Offer permessage-bzip2
    #[cfg(feature = "bzip2")]
    #[arg(long)]
    bzip2: bool,
    /// Certificates, PEM, of those that may have signed a wss:// server's; default: those that this system trusts
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Take any certificate of a wss:// server
    #[arg(long)]
    insecure: bool,
}

fn tier(text: &str) -> Result<IoTier, String> {
    match text {
        "auto" => Ok(IoTier::Auto),
        "uring" => Ok(IoTier::Uring),
        "epoll" => Ok(IoTier::Epoll),
        _ => Err("it is auto, uring or epoll".to_owned()),
    }
}

pub(super) fn run(args: &TesteeArgs) -> ExitCode {
    let ran = testee(args).and_then(|testee| on(args.io, testee).map_err(environment)?);
    match ran {
        Ok(cases) => {
            println!("{cases} cases have run; the verdicts are in the server's report");
            Exit::Ok.into()
        }
        Err(fatal) => {
            supervise::error(&fatal);
            fatal.exit.into()
        }
    }
}

fn environment(sentence: String) -> Fatal {
    Fatal {
        exit: Exit::Environment,
        sentence,
    }
}

fn testee(args: &TesteeArgs) -> Result<Testee, Fatal> {
    let uri = &args.uri;
    let parsed = Uri::parse(uri).map_err(|why| {
        Fatal::usage(format!(
            "{uri}: {why}; give something like ws://127.0.0.1:9001"
        ))
    })?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if args.agent.is_empty() || !args.agent.chars().all(good) {
        return Err(Fatal::usage(format!(
            "--agent {}: a name here has letters, digits and -._~, because it goes into a URI",
            args.agent
        )));
    }
    let addresses = addresses::of(&parsed)
        .map_err(|why| environment(format!("{uri} has no address: {why}")))?;
    let trust = TlsTrust {
        cacert: args.cacert.clone(),
        insecure: args.insecure,
        resume: false,
    };
    let tls = parsed.secure.then(|| trust.client(&parsed.host));
    Ok(Testee {
        route: Route::new(&addresses),
        addresses,
        place: 0,
        tls: tls.transpose().map_err(Fatal::usage)?,
        host: parsed.authority(),
        agent: args.agent.clone(),
        deflate: args.deflate.then_some(DEFLATE),
        #[cfg(feature = "snappy")]
        snappy: args.snappy.then_some(ringway::Snappy { bytes_min: 1 }),
        #[cfg(feature = "bzip2")]
        bzip2: args.bzip2.then(|| ringway::Bzip2 {
            bytes_min: 1,
            ..ringway::Bzip2::default()
        }),
        step: Step::Count,
        cases: 0,
        begun: false,
        ended: None,
    })
}

/// All that there is: takeover either way, the largest windows, every message.
const DEFLATE: Deflate = Deflate {
    level: 1,
    mem_level: 8,
    sends: Direction::FARTHEST,
    receives: Direction::FARTHEST,
    bytes_min: 1,
};

impl Task for Testee {
    type Output = Result<u32, Fatal>;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, ringway::io::Error> {
        let config = Config {
            message_limits: Limits {
                frame_bytes_max: MESSAGE_BYTES_MAX,
                message_bytes_max: MESSAGE_BYTES_MAX,
            },
            handshake_timeout: TIMEOUT,
            close_timeout: TIMEOUT,
            send_queue_bytes_max: QUEUE_BYTES_MAX,
            ..Config::default()
        };
        let mut worker = Worker::client(io, self, config);
        loop {
            let patience = match worker.app().begun {
                true => Duration::from_secs(1),
                false => SOCKET_LOOK,
            };
            worker.turn(Some(patience))?;
            if let Some(ended) = worker.app_mut().ended.take() {
                return Ok(ended);
            }
        }
    }
}

/// What the next connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Count,
    Case(u32),
    Report,
}

struct Testee {
    addresses: Vec<Address>,
    /// Which of them failed, and which took a connection.
    route: Route,
    /// The one that the present connection is made to.
    place: usize,
    tls: Option<TlsClient>,
    host: String,
    agent: String,
    deflate: Option<Deflate>,
    #[cfg(feature = "snappy")]
    snappy: Option<ringway::Snappy>,
    #[cfg(feature = "bzip2")]
    bzip2: Option<ringway::Bzip2>,
    step: Step,
    cases: u32,
    /// The connection of this step was begun.
    begun: bool,
    ended: Option<Result<u32, Fatal>>,
}

impl Testee {
    fn resource(&self) -> String {
        let agent = &self.agent;
        match self.step {
            Step::Count => "/getCaseCount".to_owned(),
            Step::Case(case) => format!("/runCase?case={case}&agent={agent}"),
            Step::Report => format!("/updateReports?agent={agent}"),
        }
    }

    /// The request for a case, with the offers to compress.
    fn offering(&self, mut request: OpeningRequest) -> OpeningRequest {
        if let Some(deflate) = self.deflate {
            request = request.deflate(deflate);
        }
        #[cfg(feature = "snappy")]
        if let Some(snappy) = self.snappy {
            request = request.snappy(snappy);
        }
        #[cfg(feature = "bzip2")]
        if let Some(bzip2) = self.bzip2 {
            request = request.bzip2(bzip2);
        }
        request
    }

    /// Begins to connect to the server's first address that the kernel does not refuse at once.
    fn connect(&mut self, handle: &mut Handle<'_>, request: &Arc<OpeningRequest>) {
        self.place = self.route.first();
        loop {
            let to = self.addresses[self.place].clone();
            let Err(errno) = handle.connect(&ConnectOptions::new(to), request, 0) else {
                return;
            };
            match self.route.failed(self.place, &errno) {
                Some(next) => self.place = next,
                None => return self.give_up(&format!("connect to {}", self.route.tried())),
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        self.ended = Some(Err(environment(why.to_owned())));
    }

    /// The connection of this step has ended.
    fn go_on(&mut self) {
        self.begun = false;
        self.step = match self.step {
            Step::Count if self.cases == 0 => {
                let sentence = "the server names no cases: is it the testsuite's fuzzingserver?";
                self.ended = Some(Err(environment(sentence.to_owned())));
                return;
            }
            Step::Count => Step::Case(1),
            Step::Case(case) if case < self.cases => Step::Case(case + 1),
            Step::Case(_) => Step::Report,
            Step::Report => {
                self.ended = Some(Ok(self.cases));
                return;
            }
        };
        if let Step::Case(case) = self.step {
            eprint!("\rcase {case} of {}", self.cases);
        } else {
            eprintln!();
        }
    }
}

impl App for Testee {
    type Session = ();

    fn turn(&mut self, handle: &mut Handle<'_>) {
        // The server has seen the end of a case only when its socket has ended, and reports no case before that.
        if self.begun || self.ended.is_some() || handle.connections() > 0 {
            return;
        }
        self.begun = true;
        let request = OpeningRequest::new(&self.host, &self.resource(), &[]);
        let request = request.map(|request| match self.step {
            Step::Case(_) => self.offering(request),
            Step::Count | Step::Report => request,
        });
        let request = request.map(|request| match &self.tls {
            Some(tls) => request.tls(tls.clone()),
            None => request,
        });
        match request {
            Ok(request) => self.connect(handle, &Arc::new(request)),
            Err(misuse) => self.give_up(&misuse.to_string()),
        }
    }

    fn connected(&mut self, _scope: &mut Scope<'_>, (): &mut ()) {
        self.route.connected(self.place);
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        if self.step == Step::Count {
            self.cases = message
                .text()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
        } else if context.send(message.kind(), message.payload()).is_err() {
            // After our Close there is nothing to answer. A full queue is the server's doing.
            let _ = context.close(CloseCode::PolicyViolation, "the queue is full");
        }
    }

    fn close(&mut self, _scope: &mut Scope<'_>, (): (), _closed: Closed<'_>) {
        self.go_on();
    }

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failure: Failure) {
        let to = &self.addresses[self.place];
        match failure {
            Failure::Connect(errno) => match self.route.failed(self.place, &errno) {
                // The next turn tries the next address.
                Some(_) => self.begun = false,
                None => self.give_up(&format!("connect to {}", self.route.tried())),
            },
            failure => self.give_up(&format!("{to} does not open a WebSocket: {failure}")),
        }
    }
}
