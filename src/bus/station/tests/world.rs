//! Stations with a bus between them, in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::history::Weight;
use crate::log::Refusal;
use crate::rights::Rights;
use crate::station::{Form, Interest, Options, Outlet, Sent, Station};

/// A message that the outlet has made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) form: Form,
    pub(super) bytes: Arc<[u8]>,
}

impl Weight for Made {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The surroundings of one station.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// What each client has got.
    pub(super) sent: BTreeMap<u64, Vec<Made>>,
    /// Clients that take nothing now.
    pub(super) full: BTreeSet<u64>,
    /// Clients that take so many more.
    pub(super) room: BTreeMap<u64, usize>,
    pub(super) gone: BTreeSet<u64>,
    pub(super) closed: Vec<(u64, u16)>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) prepared: Vec<Form>,
    pub(super) refusal: Option<Refusal>,
    pub(super) interests: Vec<(String, Interest)>,
}

impl Outlet for Desk {
    type Message = Made;

    fn prepare(&mut self, form: Form, event: &[u8]) -> Made {
        self.prepared.push(form);
        let bytes = event.into();
        Made { form, bytes }
    }

    fn send(&mut self, client: u64, message: &Made) -> Sent {
        if self.gone.contains(&client) {
            return Sent::Gone;
        }
        if let Some(room) = self.room.get_mut(&client) {
            if *room == 0 {
                self.room.remove(&client);
                self.full.insert(client);
            } else {
                *room -= 1;
            }
        }
        if self.full.contains(&client) {
            return Sent::Full;
        }
        self.sent.entry(client).or_default().push(message.clone());
        Sent::Taken
    }

    fn publish(&mut self, body: &[u8]) -> Result<(), Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        self.records.push(body.into());
        Ok(())
    }

    fn close(&mut self, client: u64, code: u16, _reason: &str) {
        self.closed.push((client, code));
    }

    fn interest(&mut self, pattern: &str, interest: Interest) {
        self.interests.push((pattern.to_owned(), interest));
    }
}

/// What a reader finds in a log.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Record(Arc<[u8]>),
    Began,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) options: Options,
    pub(super) stations: Vec<Station<Made>>,
    pub(super) desks: Vec<Desk>,
    /// What a reader has not read: by writer, then by reader.
    pub(super) logs: Vec<Vec<VecDeque<Item>>>,
    pub(super) next_epoch: u64,
}

pub(super) fn all_rights() -> Arc<Rights> {
    Arc::new(Rights::new(&["#", "$sys/#"], &["#", "$sys/#"]).expect("patterns"))
}

/// JSON and any number of workers.
impl World {
    pub(super) fn new(options: Options) -> Self {
        let workers = options.workers;
        let station = |worker| Station::new(Options { worker, ..options }, 1000);
        Self {
            now: Duration::from_secs(1),
            options,
            stations: (0..workers).map(station).collect(),
            desks: (0..workers).map(|_| Desk::default()).collect(),
            logs: vec![vec![VecDeque::new(); workers]; workers],
            next_epoch: 1_000_000,
        }
    }

    /// Calls a station, and puts what it writes onto the bus. Returns what that was.
    pub(super) fn call<R>(
        &mut self,
        worker: usize,
        call: impl FnOnce(&mut Station<Made>, Duration, &mut Desk) -> R,
    ) -> (R, Vec<Arc<[u8]>>) {
        let desk = &mut self.desks[worker];
        let result = call(&mut self.stations[worker], self.now, desk);
        let written: Vec<Arc<[u8]>> = desk.records.drain(..).map(Arc::from).collect();
        for (reader, log) in self.logs[worker].iter_mut().enumerate() {
            if reader != worker {
                log.extend(written.iter().cloned().map(Item::Record));
            }
        }
        (result, written)
    }

    pub(super) fn open(&mut self, worker: usize, client: u64) {
        self.stations[worker].open(client, all_rights());
    }

    /// A request as JSON.
    pub(super) fn ask(&mut self, worker: usize, client: u64, text: &str) -> Vec<Arc<[u8]>> {
        let text = text.as_bytes();
        self.call(worker, |station, now, desk| {
            station.handle_request(now, client, Form::Text, text, desk);
        })
        .1
    }

    pub(super) fn ask_binary(&mut self, worker: usize, client: u64, bytes: &[u8]) {
        self.call(worker, |station, now, desk| {
            station.handle_request(now, client, Form::Binary, bytes, desk);
        });
    }

    /// The next item of a log goes to its reader.
    pub(super) fn pass(&mut self, writer: usize, reader: usize) -> Option<(Item, Vec<Arc<[u8]>>)> {
        let item = self.logs[writer][reader].pop_front()?;
        let (_, written) = self.call(reader, |station, now, desk| match &item {
            Item::Record(body) => station.handle_record(now, writer, body, desk),
            Item::Began => station.handle_began(writer, desk),
        });
        Some((item, written))
    }

    /// All that is on the bus goes to its readers, in the order of workers, until nothing is left.
    pub(super) fn pass_all(&mut self) {
        let workers = self.options.workers;
        loop {
            let mut passed = 0;
            for writer in 0..workers {
                for reader in 0..workers {
                    passed += usize::from(self.pass(writer, reader).is_some());
                }
            }
            if passed == 0 {
                return;
            }
        }
    }

    /// So many items of a log are overtaken before they were read.
    pub(super) fn lose(&mut self, writer: usize, reader: usize, items: usize) {
        let log = &mut self.logs[writer][reader];
        let lost = items.min(log.len());
        log.drain(..lost);
        let lost = NonZeroU64::new(lost as u64);
        self.call(reader, |station, _, desk| {
            station.handle_loss(writer, lost, desk);
        });
    }

    /// A worker's process ends, and another takes its place: it begins at the end of the logs.
    pub(super) fn replace(&mut self, worker: usize) {
        self.next_epoch += 1_000_000;
        let options = Options {
            worker,
            ..self.options
        };
        self.stations[worker] = Station::new(options, self.next_epoch);
        self.desks[worker] = Desk::default();
        for writer in 0..self.options.workers {
            self.logs[writer][worker].clear();
        }
        for (reader, log) in self.logs[worker].iter_mut().enumerate() {
            if reader != worker {
                log.push_back(Item::Began);
            }
        }
    }

    pub(super) fn writable(&mut self, worker: usize, client: u64) {
        self.desks[worker].full.remove(&client);
        self.call(worker, |station, _, desk| station.writable(client, desk));
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        for worker in 0..self.options.workers {
            self.call(worker, |station, now, desk| {
                station.handle_timeout(now, desk);
            });
        }
    }

    /// What a client has got since it was asked last, as texts; the binary form in hexadecimal.
    pub(super) fn got(&mut self, worker: usize, client: u64) -> Vec<String> {
        let sent = self.desks[worker].sent.remove(&client).unwrap_or_default();
        let text = |made: Made| match made.form {
            Form::Text => String::from_utf8(made.bytes.to_vec()).expect("UTF-8"),
            Form::Binary => {
                let digits = made.bytes.iter().map(|byte| format!("{byte:02x}"));
                digits.collect::<Vec<_>>().join(" ")
            }
        };
        sent.into_iter().map(text).collect()
    }
}
