//! The clients of a service in one worker: whom each is, and until when it may stay.
//!
//! Owns: one entry for each client, if anybody will ask for it. Never: sends; its caller closes those that it names.
//!
//! | limit | memory |
//! |---|---|
//! | one entry for each client, only with tokens or with the HTTP API | about 150 bytes, and the names of its path and its subject |

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_bus::api::Selection;

use super::admission::{Admission, Admitted};
use crate::proto::CloseCode;
use crate::protocol::{Context, Handle, Opening, Verdict, conn_of, number_of};
use crate::time::Instant;

/// The reason in the Close of a client whose token is over.
const EXPIRED: &str = "the token has expired";

/// A client between its opening handshake and its entry.
#[derive(Debug)]
pub struct Guest {
    pub(super) admitted: Admitted,
    pub(super) path: Rc<str>,
    address: Option<IpAddr>,
}

#[derive(Debug)]
struct Member {
    subject: Option<Box<str>>,
    path: Rc<str>,
    address: Option<IpAddr>,
    expires: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    admission: Admission,
    /// Somebody asks for clients by their names.
    is_listed: bool,
    members: HashMap<u64, Member>,
    expiries: BTreeSet<(Instant, u64)>,
    /// Clients that were told to go, and have not gone: what they say counts no more.
    leaving: HashSet<u64>,
    /// The path of the client that came last: the next one has the same, most often.
    last: Option<Rc<str>>,
}

impl Members {
    pub(super) fn new(admission: Admission) -> Self {
        Self {
            is_listed: admission.is_listed || admission.has_tokens(),
            admission,
            ..Self::default()
        }
    }

    /// Judges a client.
    pub(super) fn admit(&mut self, opening: &Opening<'_>) -> Result<Guest, Verdict> {
        let admitted = self.admission.judge(opening)?;
        let path = opening.request().path();
        let last = self.last.take().filter(|last| **last == *path);
        let path = self
            .last
            .insert(last.unwrap_or_else(|| path.into()))
            .clone();
        // A system call, perhaps.
        let address = self.is_listed.then(|| opening.peer()).flatten();
        Ok(Guest {
            admitted,
            path,
            address: address.map(|address| address.ip().to_canonical()),
        })
    }

    /// A client's WebSocket is open.
    pub(super) fn enter(&mut self, context: &mut Context<'_>, guest: Guest) {
        if !self.is_listed {
            return;
        }
        let id = number_of(context.id());
        let Guest {
            admitted,
            path,
            address,
        } = guest;
        let expires = admitted
            .expires_in
            .map(|left| context.now() + left.min(FAR));
        if let Some(expires) = expires {
            self.expiries.insert((expires, id));
            context.commands().wake_at(expires);
        }
        let member = Member {
            subject: admitted.subject,
            path,
            address,
            expires,
        };
        self.members.insert(id, member);
    }

    /// A client has ended.
    pub(super) fn leave(&mut self, id: u64) {
        self.leaving.remove(&id);
        let expires = self.members.remove(&id).and_then(|member| member.expires);
        if let Some(expires) = expires {
            self.expiries.remove(&(expires, id));
        }
    }

    /// Closes the clients whose tokens are over, and asks to be called again for the next one.
    pub(super) fn turn(&mut self, worker: &mut Handle<'_>) {
        let now = worker.now();
        while let Some(&(expires, id)) = self.expiries.first() {
            if expires > now {
                worker.commands().wake_at(expires);
                return;
            }
            self.expiries.pop_first();
            self.send_away(worker, id, CloseCode::PolicyViolation, EXPIRED);
        }
    }

    /// Closes a client. Says whether it was open.
    pub(super) fn send_away(
        &mut self,
        worker: &mut Handle<'_>,
        id: u64,
        code: CloseCode,
        reason: &str,
    ) -> bool {
        let Some(mut context) = worker.context(conn_of(id)) else {
            return false;
        };
        self.leaving.insert(id);
        context.close(code, reason).is_ok()
    }

    /// Whether what a client says counts.
    pub(super) fn is_heard(&self, id: u64) -> bool {
        self.leaving.is_empty() || !self.leaving.contains(&id)
    }

    /// Whether the HTTP API may ask for the clients.
    pub(super) const fn is_asked_for(&self) -> bool {
        self.admission.is_listed
    }

    /// The paths that have clients, and how many.
    pub(super) fn paths(&self) -> Vec<(&str, u64)> {
        let mut paths: HashMap<&str, u64> = HashMap::new();
        for member in self.members.values() {
            *paths.entry(&member.path).or_default() += 1;
        }
        paths.into_iter().collect()
    }

    /// The clients that are meant.
    pub(super) fn select(&self, selection: Selection<'_>) -> Vec<u64> {
        let meant = |member: &Member| {
            let Selection {
                subject,
                path,
                address,
            } = selection;
            subject.is_none_or(|subject| member.subject.as_deref() == Some(subject))
                && path.is_none_or(|path| *member.path == *path)
                && address.is_none_or(|address| member.address == Some(address))
        };
        let found = self.members.iter().filter(|(_, member)| meant(member));
        found.map(|(id, _)| *id).collect()
    }
}

/// A token that is good for longer is as good as one that does not expire (about 31 years).
const FAR: Duration = Duration::from_secs(1_000_000_000);
