//! Looks on while a gateway works: access log, recordings, marks, and when to stop.
//!
//! Owns: what is handed to the writer. Never: waits for it.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, SystemTime};

use ringway::services::gateway::{
    Account, LogFormat, Losses, Observer, Outcome, RecordFormat, SessionOptions,
};
use ringway::time::Instant;
use ringway::{Carried, ConnId, Handle, Way, lines};

use super::record;
use super::writer::{Log, Writer};

/// Sees all sessions of a worker.
pub(super) struct Onlooker {
    writer: Option<Writer>,
    log: Option<LogFormat>,
    record: Option<RecordFormat>,
    recordings: HashMap<ConnId, Recording>,
    traffic: bool,
    sessions: u64,
    stop: Stop,
}

struct Recording {
    began: Option<Instant>,
    last: Duration,
    is_complete: bool,
}

/// When the gateway is to stop.
struct Stop {
    run_once: bool,
    after: Option<Duration>,
    when_idle: Option<Duration>,
    began: Option<Instant>,
    idle_since: Option<Instant>,
    /// A session has ended.
    has_served: bool,
    /// Stops the server. Taken when it is called.
    stop: Option<Box<dyn FnOnce()>>,
}

impl Onlooker {
    /// `None`: there is nothing to look at. `stop` stops the server.
    ///
    /// # Errors
    /// The log cannot be opened, or there is no thread.
    pub(super) fn new(
        options: &SessionOptions,
        stop: impl FnOnce() + 'static,
    ) -> io::Result<Option<Self>> {
        let log = options.access_log.as_deref().map(Log::open).transpose()?;
        let is_logged = log.is_some();
        let writes = is_logged || options.record.is_some();
        let stops =
            options.run_once || options.stop_after.is_some() || options.stop_when_idle.is_some();
        if !writes && !stops && !options.traffic {
            return Ok(None);
        }
        let writer = match writes {
            true => Some(Writer::start(log, options.record.clone())?),
            false => None,
        };
        Ok(Some(Self {
            writer,
            log: is_logged.then_some(options.access_log_format),
            record: options.record.is_some().then_some(options.record_format),
            recordings: HashMap::new(),
            traffic: options.traffic,
            sessions: 0,
            stop: Stop {
                run_once: options.run_once,
                after: options.stop_after,
                when_idle: options.stop_when_idle,
                began: None,
                idle_since: None,
                has_served: false,
                stop: Some(Box::new(stop)),
            },
        }))
    }
}

impl Observer for Onlooker {
    fn began(&mut self, id: ConnId, account: &Account) {
        self.sessions += 1;
        self.stop.idle_since = None;
        if let (Some(format), Some(writer)) = (self.record, &self.writer)
            && writer.begin(id, record::begin(format, account))
        {
            let recording = Recording {
                began: None,
                last: Duration::ZERO,
                is_complete: true,
            };
            self.recordings.insert(id, recording);
        }
    }

    fn carried(&mut self, carried: &Carried<'_>) {
        if self.traffic {
            let marks = match carried.way {
                Way::ToTarget => "}>\n",
                Way::ToClient => "{<\n",
            };
            lines::say(format_args!("{marks}"));
        }
        let (Some(format), Some(writer)) = (self.record, &self.writer) else {
            return;
        };
        let Some(recording) = self.recordings.get_mut(&carried.id) else {
            return;
        };
        if !recording.is_complete {
            return;
        }
        let began = *recording.began.get_or_insert(carried.now);
        let at = carried.now.since(began);
        let mut bytes = Vec::with_capacity(carried.bytes.len() + 32);
        let times = (recording.last, at);
        record::piece(format, carried.way, times, carried.bytes, &mut bytes);
        recording.last = at;
        // What comes after a gap is worth nothing: the streams have states.
        recording.is_complete = writer.piece(carried.id, bytes);
    }

    fn ended(&mut self, id: ConnId, account: &Account, outcome: &Outcome<'_>) {
        if let (Some(format), Some(writer)) = (self.log, &self.writer) {
            let now = SystemTime::now();
            writer.line(record::line(format, account, outcome, now));
        }
        if let (Some(recording), Some(format), Some(writer)) =
            (self.recordings.remove(&id), self.record, &self.writer)
        {
            let last = record::end(format, recording.is_complete);
            writer.end(id, last, recording.is_complete);
        }
        if matches!(outcome, Outcome::Closed(_)) {
            self.sessions -= 1;
            self.stop.has_served = true;
        }
    }

    fn turn(&mut self, worker: &mut Handle<'_>) -> Losses {
        self.stop.look(self.sessions, worker);
        let losses = self.writer.as_ref().map(Writer::losses);
        let (lines, recordings) = losses.unwrap_or_default();
        Losses { lines, recordings }
    }
}

impl Stop {
    fn look(&mut self, sessions: u64, worker: &mut Handle<'_>) {
        if self.stop.is_none() {
            return;
        }
        let now = worker.now();
        let began = *self.began.get_or_insert(now);
        let after = self.after.map(|time| began + time);
        let idle = self.when_idle.filter(|_| sessions == 0);
        let idle = idle.map(|time| *self.idle_since.get_or_insert(now) + time);
        let due = [after, idle].into_iter().flatten().min();
        if (self.run_once && self.has_served) || due.is_some_and(|due| due <= now) {
            if let Some(stop) = self.stop.take() {
                stop();
            }
        } else if let Some(due) = due {
            worker.commands().wake_at(due);
        }
    }
}
