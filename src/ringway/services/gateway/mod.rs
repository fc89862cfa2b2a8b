//! The gateway: joins each WebSocket with a stream to a target.
//!
//! Owns: which subprotocol a client gets, and so how the stream travels in its messages; the sessions of each target; who waits for
//! an answer of the [`Guide`]. Never: sees a byte of a stream but to count it (the worker carries them), waits for anything.
//!
//! | the client offers | it gets |
//! |---|---|
//! | nothing | binary messages, no subprotocol; or 406 where one is required |
//! | some, of which we know one or more | the first one that we know, in the client's order |
//! | some, of which we know none | 400 with the names that we know |
//!
//! Where a session leads to, and whether it may, says the [`Guide`], at once or later:
//!
//! ```text
//!  connect ──▶ Guide::find ──▶ Step::Now ─────────────────────────────────────────▶ 101, or a refusal
//!                      └─────▶ Step::Later ──▶ side thread ──▶ waker ──▶ turn ──▶ decide: the same
//! ```

mod options;
mod place;
mod programs;
mod side;
pub mod tokens;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::io::ConnId;
use crate::proto::CloseCode;
use crate::proto::proxy_protocol::{self, Version};
use crate::proto::{Kind, Message};
use crate::protocol::{
    App, Carriage, Carried, Closed, Context, Failure, Handle, Onward, Opening, Scope, Target,
    Verdict, Way,
};

use super::Admission;
use super::carriers::{self, BASE64, Choice};
pub use options::{LogFormat, RecordFormat, Route, SessionOptions, TokenFrom, without_port};
pub use place::Place;
pub use programs::{KillLadder, Messages, Partner, ProgramOptions, Stderr};
use side::Side;
pub use side::{Answer, Later};

/// The subprotocol in which text messages control a terminal, and binary ones are its bytes.
pub const TERMINAL_SUBPROTOCOL: &str = "terminal.ringway.v1";

/// Clients of a worker that wait for an answer of the guide. One more gets 503.
const WAITING_MAX: usize = 1024;

/// Characters of a host and of a path that are kept.
const KEPT_CHARS_MAX: usize = 256;

/// Knows where sessions lead to, and who may have one.
pub trait Guide: Send + Sync {
    /// Finds the target of a client that asks for a WebSocket. It must not wait: what takes time is for [`Step::Later`].
    fn find(&self, opening: &Opening<'_>) -> Step;
}

/// What a [`Guide`] says.
pub enum Step {
    /// The answer.
    Now(Answer),
    /// It will be known when this has run, beside the worker.
    Later(Later),
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Where a session leads to.
#[derive(Clone)]
pub struct Found {
    /// The addresses, or a stream that is connected already.
    pub target: Onward,
    /// What runs for this session only, and is told of its end.
    pub partner: Option<Arc<dyn Partner>>,
    /// How the target is written: sessions of one name are counted together.
    pub name: Arc<str>,
    /// Who the client is.
    pub user: Option<Box<str>>,
    /// What stands for the token that it brought. Not the token: that is a secret.
    pub token: Option<Box<str>>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("target", &self.target)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A client that is not to have a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is answered.
    pub verdict: Verdict,
    /// Which of the gateway's figures counts it.
    pub why: Why,
    /// As [`Found::user`]; a name that was not proved is none.
    pub user: Option<Box<str>>,
    /// As [`Found::token`].
    pub token: Option<Box<str>>,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its token, path or host leads nowhere.
    NoTarget,
    /// It may not.
    NotAllowed,
    /// There are enough.
    TooMany,
    /// The answer was not to be had, or not in time.
    NoAnswer,
    /// Its subprotocols are none of ours.
    Subprotocol,
}

impl Refusal {
    /// A refusal with a status and a sentence.
    pub fn new(why: Why, status: u16, sentence: &str) -> Self {
        Self::of(why, Verdict::refuse(status, &format!("{sentence}\n")))
    }

    fn of(why: Why, verdict: Verdict) -> Self {
        Self {
            verdict,
            why,
            user: None,
            token: None,
        }
    }
}

/// One target for everybody.
impl Guide for Arc<Target> {
    fn find(&self, _: &Opening<'_>) -> Step {
        let shown = |address: &crate::io::ConnectOptions| match &address.to {
            crate::io::Address::Tcp(address) => address.to_string(),
            crate::io::Address::Unix(path) => format!("unix:{}", path.display()),
        };
        let name = self.addresses.first().map(shown).unwrap_or_default();
        Step::Now(Ok(Found {
            target: Onward::Stream(Self::clone(self)),
            partner: None,
            name: name.into(),
            user: None,
            token: None,
        }))
    }
}

/// Looks on: for logs and recordings. It must not wait.
pub trait Observer {
    /// A session begins.
    fn began(&mut self, id: ConnId, account: &Account);
    /// Bytes pass.
    fn carried(&mut self, carried: &Carried<'_>);
    /// A session has ended, or a client got none.
    fn ended(&mut self, id: ConnId, account: &Account, outcome: &Outcome<'_>);
    /// Called once per turn. Returns what was lost since the last call.
    fn turn(&mut self, worker: &mut Handle<'_>) -> Losses;
}

/// What an [`Observer`] could not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lines that were dropped.
    pub lines: u64,
    /// Recordings that are not complete.
    pub recordings: u64,
}

/// How a session ended, or why there was none.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The client got this status, and a body with the reason.
    Refused {
        /// The status.
        status: u16,
        /// The body.
        reason: &'a str,
    },
    /// The client did not wait for an answer, or the answer came too late.
    Left,
    /// The WebSocket was open, and is closed.
    Closed(Closed<'a>),
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub struct Account {
    /// When the client asked.
    pub asked_at: SystemTime,
    /// The client: `None` on a Unix socket.
    pub client: Option<SocketAddr>,
    /// `Host`, up to 256 characters.
    pub host: Box<str>,
    /// The path, without its query, up to 256 characters.
    pub path: Box<str>,
    /// The subprotocol that was chosen.
    pub subprotocol: Option<Box<str>>,
    /// As [`Found::user`].
    pub user: Option<Box<str>>,
    /// As [`Found::token`].
    pub token: Option<Box<str>>,
    /// As [`Found::name`].
    pub target: Option<Arc<str>>,
    /// Bytes that were accepted from the client.
    pub to_target: u64,
    /// Bytes that were accepted from the target.
    pub to_client: u64,
    /// The Close that the target's end led to, with its reason.
    pub parted: Option<(CloseCode, Box<str>)>,
}

impl Lead {
    /// The session is over.
    fn end(&self) {
        if let Some(partner) = &self.partner {
            partner.leave();
        }
    }
}

impl Account {
    fn new(opening: &Opening<'_>) -> Self {
        let kept = |text: &str| text.chars().take(KEPT_CHARS_MAX).collect::<String>().into();
        let request = opening.request();
        Self {
            asked_at: SystemTime::now(),
            client: opening.peer(),
            host: kept(request.host()),
            path: kept(request.path()),
            subprotocol: None,
            user: None,
            token: None,
            target: None,
            to_target: 0,
            to_client: 0,
            parted: None,
        }
    }
}

/// The gateway application.
pub struct Gateway {
    /// Knows where the streams lead to.
    pub guide: Arc<dyn Guide>,
    /// Whether streams travel as lines, each in a text message. Clients then get none but [`Self::subprotocols`], and none is needed.
    pub lines: bool,
    /// Whether streams are terminals: text messages of clients are taken as binary ones are, and [`TERMINAL_SUBPROTOCOL`] is known.
    pub terminal: bool,
    /// Subprotocols beside `binary` and `base64`; their messages are binary.
    pub subprotocols: Vec<String>,
    /// Whether clients may choose `base64`.
    pub base64: bool,
    /// Whether a client that offers no subprotocol is refused.
    pub require_subprotocol: bool,
    /// The PROXY header that tells the target whose stream it is. `None`: the stream begins with the client's bytes.
    pub proxy_header: Option<Version>,
    /// Sessions of one target, in each worker. `None`: any number.
    pub sessions_per_target_max: Option<u32>,
    /// Time for an answer of the guide. It must be shorter than the handshake's.
    pub lookup_timeout: Duration,
    /// Who may come in by a signed token. `None`: clients need none.
    pub admission: Option<Admission>,
    /// Who looks on.
    pub observer: Option<Box<dyn Observer>>,
    /// Sessions by target.
    sessions: HashMap<Arc<str>, u32>,
    waiting: HashMap<ConnId, Waiting>,
    /// Who is to be told that the worker stops.
    partners: HashMap<ConnId, Arc<dyn Partner>>,
    /// Questions that the side thread has not got yet.
    asks: Vec<(ConnId, Later)>,
    side: Option<Side>,
    refused: Refused,
}

/// A client that waits for the guide's answer, or that has got it and is not open yet.
struct Waiting {
    account: Box<Account>,
    lead: Option<Lead>,
}

/// Where a session leads to.
struct Lead {
    target: Onward,
    partner: Option<Arc<dyn Partner>>,
}

/// Clients that were refused since the last turn.
#[derive(Debug, Default)]
struct Refused {
    tokens: u64,
    logins: u64,
    limits: u64,
    lookups: u64,
}

/// What is kept of a session.
#[derive(Default)]
pub struct Travels {
    as_base64: bool,
    /// What the target gets first.
    header: Vec<u8>,
    lead: Option<Lead>,
    /// Absent while the guide is asked.
    account: Option<Box<Account>>,
}

impl std::fmt::Debug for Travels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Travels")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway to one target, for `binary`, `base64`, and clients that offer nothing.
    pub fn new(target: Arc<Target>) -> Self {
        Self::guided(Arc::new(target))
    }

    /// The same, to where a guide says.
    pub fn guided(guide: Arc<dyn Guide>) -> Self {
        Self {
            guide,
            lines: false,
            terminal: false,
            subprotocols: Vec::new(),
            base64: true,
            require_subprotocol: false,
            proxy_header: None,
            sessions_per_target_max: None,
            lookup_timeout: Duration::from_secs(3),
            admission: None,
            observer: None,
            sessions: HashMap::new(),
            waiting: HashMap::new(),
            partners: HashMap::new(),
            asks: Vec::new(),
            side: None,
            refused: Refused::default(),
        }
    }

    /// The subprotocol of a client that offers these. One whose protocol has text only gets base64 whatever it offers.
    fn choose<'a>(
        &self,
        offered: impl Iterator<Item = &'a str>,
        is_text_only: bool,
    ) -> Result<Option<&'a str>, Refusal> {
        if self.lines {
            return Ok(carriers::choose_of(offered, &self.subprotocols));
        }
        let (base64, more) = (self.base64, &self.subprotocols);
        let offered = offered.filter(|name| !is_text_only || *name == BASE64);
        let (status, why) = match carriers::choose(offered, base64, more) {
            Choice::NoneOffered if is_text_only && !base64 => (
                400,
                "this protocol carries text only, and base64 is not served; known are",
            ),
            Choice::Known(name) => return Ok(Some(name)),
            Choice::NoneOffered if !self.require_subprotocol => return Ok(None),
            Choice::NoneOffered => (406, "offer one of these subprotocols:"),
            Choice::Unknown => (400, "none of the subprotocols is known, only"),
        };
        let body = format!("{why} {}", carriers::names(base64, more));
        Err(Refusal::new(Why::Subprotocol, status, &body))
    }

    /// Judges an answer of the guide: the target, and the verdict.
    fn judge(
        &mut self,
        answer: Answer,
        id: ConnId,
        account: &mut Account,
    ) -> Result<Lead, Verdict> {
        let found = match answer {
            Ok(found) => found,
            Err(refusal) => return Err(self.refuse(refusal, id, account)),
        };
        account.user = found.user.or_else(|| account.user.take());
        account.token = found.token;
        account.target = Some(Arc::clone(&found.name));
        if let Some(most) = self.sessions_per_target_max {
            let sessions = self.sessions.entry(found.name).or_default();
            if *sessions >= most {
                let sentence = "the target has as many sessions as it may have: try again later";
                let refusal = Refusal::new(Why::TooMany, 503, sentence);
                return Err(self.refuse(refusal, id, account));
            }
            *sessions += 1;
        }
        Ok(Lead {
            target: found.target,
            partner: found.partner,
        })
    }

    fn refuse(&mut self, refusal: Refusal, id: ConnId, account: &mut Account) -> Verdict {
        let refused = &mut self.refused;
        match refusal.why {
            Why::NoTarget => refused.tokens += 1,
            Why::NotAllowed => refused.logins += 1,
            Why::TooMany => refused.limits += 1,
            Why::NoAnswer => refused.lookups += 1,
            Why::Subprotocol => {}
        }
        account.user = refusal.user.or_else(|| account.user.take());
        account.token = refusal.token.or_else(|| account.token.take());
        if let (Some(observer), Some((status, body))) =
            (&mut self.observer, refusal.verdict.refusal())
        {
            let reason = body.trim_end();
            observer.ended(id, account, &Outcome::Refused { status, reason });
        }
        refusal.verdict
    }

    /// A session, or a client with the right to one, is over.
    fn leave(&mut self, account: &Account) {
        let Some(name) = account.target.as_ref() else {
            return;
        };
        if let Some(sessions) = self.sessions.get_mut(name) {
            *sessions -= 1;
            if *sessions == 0 {
                self.sessions.remove(name);
            }
        }
    }

    /// Asks beside the worker, and carries out the answers that have come.
    fn tend_waiting(&mut self, worker: &mut Handle<'_>) {
        if !self.asks.is_empty() && self.side.is_none() {
            self.side = match worker.waker().and_then(Side::start) {
                Ok(side) => Some(side),
                Err(error) => {
                    tracing::error!("a lookup cannot begin: {error}");
                    None
                }
            };
        }
        for (id, ask) in std::mem::take(&mut self.asks) {
            match &self.side {
                Some(side) => side.ask(id, ask, self.lookup_timeout),
                None => self.decide(worker, id, Err(side::no_answer())),
            }
        }
        let answers = self.side.as_ref().map(Side::answers).unwrap_or_default();
        for (id, answer) in answers {
            self.decide(worker, id, answer);
        }
    }

    fn decide(&mut self, worker: &mut Handle<'_>, id: ConnId, answer: Answer) {
        // The client may have left.
        let Some(mut waiting) = self.waiting.remove(&id) else {
            return;
        };
        let verdict = match self.judge(answer, id, &mut waiting.account) {
            Err(verdict) => verdict,
            Ok(lead) => {
                waiting.lead = Some(lead);
                let verdict = match &waiting.account.subprotocol {
                    Some(name) => Verdict::accept().subprotocol(name),
                    None => Verdict::accept(),
                };
                self.waiting.insert(id, waiting);
                verdict
            }
        };
        worker.commands().decide(id, verdict);
    }
}

impl App for Gateway {
    type Session = Travels;

    fn connect(&mut self, opening: &mut Opening<'_>, travels: &mut Travels) -> Verdict {
        let id = opening.id();
        let mut account = Box::new(Account::new(opening));
        let is_text_only = opening.request().hixie().is_some();
        let subprotocol = match self.choose(opening.request().subprotocols(), is_text_only) {
            Ok(subprotocol) => subprotocol,
            Err(refusal) => return self.refuse(refusal, id, &mut account),
        };
        if let Some(admission) = &self.admission {
            match admission.judge(opening) {
                Ok(admitted) => account.user = admitted.subject,
                Err(verdict) => {
                    let refusal = Refusal::of(Why::NotAllowed, verdict);
                    return self.refuse(refusal, id, &mut account);
                }
            }
        }
        travels.as_base64 = is_text_only || subprotocol == Some(BASE64);
        account.subprotocol = subprotocol.map(Into::into);
        if let Some(version) = self.proxy_header {
            let (client, own) = (opening.peer(), opening.local());
            proxy_protocol::encode(version, client, own, opening.is_tls(), &mut travels.header);
        }
        match self.guide.find(opening) {
            Step::Now(answer) => match self.judge(answer, id, &mut account) {
                Err(verdict) => verdict,
                Ok(lead) => {
                    (travels.lead, travels.account) = (Some(lead), Some(account));
                    match subprotocol {
                        Some(name) => Verdict::accept().subprotocol(name),
                        None => Verdict::accept(),
                    }
                }
            },
            Step::Later(_) if self.waiting.len() >= WAITING_MAX => {
                let sentence = "too many clients wait for their targets: try again later";
                let refusal = Refusal::new(Why::TooMany, 503, sentence);
                self.refuse(refusal, id, &mut account)
            }
            Step::Later(ask) => {
                let lead = None;
                self.waiting.insert(id, Waiting { account, lead });
                self.asks.push((id, ask));
                Verdict::later()
            }
        }
    }

    fn failed(&mut self, scope: &mut Scope<'_>, _: Travels, _: Failure) {
        if let Some(waiting) = self.waiting.remove(&scope.id()) {
            if let Some(lead) = waiting.lead {
                self.leave(&waiting.account);
                lead.end();
            }
            if let Some(observer) = &mut self.observer {
                observer.ended(scope.id(), &waiting.account, &Outcome::Left);
            }
        }
    }

    fn open(&mut self, context: &mut Context<'_>, travels: &mut Travels) {
        let id = context.id();
        if let Some(waiting) = self.waiting.remove(&id) {
            (travels.lead, travels.account) = (waiting.lead, Some(waiting.account));
        }
        let kind = match travels.as_base64 {
            true => Kind::Text,
            false => Kind::Binary,
        };
        if let Some(lead) = &travels.lead {
            match &lead.target {
                Onward::Stream(target) => {
                    context.join(target, kind, &std::mem::take(&mut travels.header));
                }
                Onward::WebSocket(uplink) => context.join_uplink(uplink, kind),
                Onward::Handed(stream) => {
                    let name = travels
                        .account
                        .as_ref()
                        .and_then(|a| a.subprotocol.as_deref());
                    let carriage = match kind {
                        _ if self.lines => Carriage::Lines,
                        Kind::Binary if self.terminal && name == Some(TERMINAL_SUBPROTOCOL) => {
                            Carriage::Controlled
                        }
                        Kind::Binary if self.terminal => Carriage::Either,
                        kind => kind.into(),
                    };
                    context.join_handed(stream, carriage);
                }
            }
            if let Some(partner) = &lead.partner {
                self.partners.insert(id, Arc::clone(partner));
            }
        }
        if let (Some(observer), Some(account)) = (&mut self.observer, &travels.account) {
            observer.began(id, account);
        }
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Travels, _: Message<'_>) {
        unreachable!("the messages of a joined WebSocket are the stream's")
    }

    fn carried(&mut self, travels: &mut Travels, carried: Carried<'_>) {
        if let Some(account) = &mut travels.account {
            let len = carried.bytes.len() as u64;
            match carried.way {
                Way::ToTarget => account.to_target += len,
                Way::ToClient => account.to_client += len,
            }
        }
        if let Some(observer) = &mut self.observer {
            observer.carried(&carried);
        }
    }

    fn control(
        &mut self,
        travels: &mut Travels,
        text: &str,
    ) -> Result<(), (CloseCode, Cow<'static, str>)> {
        let partner = travels.lead.as_ref().and_then(|lead| lead.partner.as_ref());
        match partner {
            Some(partner) => partner.control(text),
            None => Err((
                CloseCode::UnsupportedData,
                "there are no control messages here".into(),
            )),
        }
    }

    fn farewell(&mut self, travels: &mut Travels) -> (CloseCode, Cow<'static, str>) {
        let partner = travels.lead.as_ref().and_then(|lead| lead.partner.as_ref());
        match partner {
            Some(partner) => partner.farewell(),
            None => (CloseCode::NormalClosure, "".into()),
        }
    }

    fn parted(&mut self, travels: &mut Travels, code: CloseCode, reason: &str) {
        if let Some(account) = &mut travels.account {
            account.parted = Some((code, reason.into()));
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, travels: Travels, closed: Closed<'_>) {
        if let Some(lead) = travels.lead {
            self.partners.remove(&scope.id());
            lead.end();
        }
        let Some(account) = travels.account else {
            return;
        };
        self.leave(&account);
        if let Some(observer) = &mut self.observer {
            observer.ended(scope.id(), &account, &Outcome::Closed(closed));
        }
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        if !self.waiting.is_empty() || !self.asks.is_empty() {
            self.tend_waiting(worker);
        }
        if worker.is_stopping() {
            for (id, partner) in self.partners.drain() {
                partner.leave();
                let commands = worker.commands();
                commands.close(id, CloseCode::GoingAway, "the server is stopping");
            }
        }
        let observer = self.observer.as_mut();
        let losses = observer.map(|observer| observer.turn(worker));
        let Losses { lines, recordings } = losses.unwrap_or_default();
        let Refused {
            tokens,
            logins,
            limits,
            lookups,
        } = std::mem::take(&mut self.refused);
        let counters = worker.counters();
        counters.refused_tokens += tokens;
        counters.refused_logins += logins;
        counters.refused_limits += limits;
        counters.refused_lookups += lookups;
        counters.log_lines_dropped += lines;
        counters.recordings_incomplete += recordings;
    }
}
