//! Tests that wait for a thread, and the threads that run them.
//!
//! Owns: one queue, first in, first out; and the replies of a thread about its test.
//! Never: touches a control connection. Replies go through a channel, and a byte on a socket pair wakes the event loop,
//! which sends them.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::super::command::Test;
use super::super::reply;
use super::super::run::{self, Destination};
use crate::io::ConnId;
use crate::load::options::IoTier;

/// Most waiting tests over all control connections. Chosen, untested.
const WAITING_MAX: usize = 64;

/// A queued test.
#[derive(Debug)]
pub(super) struct Job {
    /// The control connection that asked for it.
    pub(super) asker: ConnId,
    pub(super) test: Test,
    /// Set when that connection has ended.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// A reply for the connection that asked for a test.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) to: ConnId,
    pub(super) text: String,
    /// It is the last reply about this test.
    pub(super) last: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    waiting: Mutex<VecDeque<Job>>,
    more: Condvar,
}

impl Jobs {
    /// Adds a job at the end. Returns false if the queue is full.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push_back(job);
        self.more.notify_one();
        true
    }

    /// Waits for a job, and skips cancelled ones.
    fn wait(&self) -> Job {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = first(&mut waiting) {
                return job;
            }
            waiting = self
                .more
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn first(waiting: &mut VecDeque<Job>) -> Option<Job> {
    loop {
        let job = waiting.pop_front()?;
        if !job.cancelled.load(Ordering::Relaxed) {
            return Some(job);
        }
    }
}

/// A thread that runs jobs.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) tier: IoTier,
    pub(super) allow_remote: bool,
    pub(super) said: Sender<Said>,
    pub(super) wake: Arc<UnixStream>,
}

impl Runner {
    /// Starts a thread that runs jobs until the process ends.
    pub(super) fn spawn(&self, jobs: &Arc<Jobs>, id: usize) -> std::io::Result<()> {
        let (runner, jobs) = (self.clone(), jobs.clone());
        let thread = std::thread::Builder::new().name(format!("wsperf-job-{id}"));
        thread.spawn(move || {
            loop {
                runner.run(&jobs.wait(), id);
            }
        })?;
        Ok(())
    }

    /// Replies that a test begins, runs it, and replies with its result.
    fn run(&self, job: &Job, id: usize) {
        let token = job.test.token();
        self.say(job, reply::start(token, id), false);
        match self.result(job) {
            Ok(Some(data)) => {
                self.say(job, data, false);
                self.say(job, reply::complete(token), true);
            }
            // The test was cancelled: nobody waits for a reply.
            Ok(None) => {}
            Err(text) => self.say(job, text, true),
        }
    }

    /// The reply with the result. None: the test was cancelled. The error is the reply to send instead.
    fn result(&self, job: &Job) -> Result<Option<String>, String> {
        let token = job.test.token();
        let destination = Destination::resolve(job.test.uri(), self.allow_remote, &[])
            .map_err(|why| reply::error(token, "Invalid uri parameter.", &why))?;
        let cancelled = &job.cancelled;
        let failed = |why: String| reply::error(token, "The test could not be run", &why);
        Ok(match &job.test {
            Test::Message(test) => run::message(test, &destination, self.tier, cancelled)
                .map_err(failed)?
                .map(|outcome| reply::message_data(test, outcome.as_ref().map_err(String::as_str))),
            Test::Stress(test) => run::stress(test, &destination, self.tier, cancelled)
                .map_err(failed)?
                .map(|outcome| reply::stress_data(token, &outcome)),
        })
    }

    fn say(&self, job: &Job, text: String, last: bool) {
        let to = job.asker;
        if self.said.send(Said { to, text, last }).is_ok() {
            // If the socket is full, it holds bytes that will wake the loop anyway.
            let _ = (&*self.wake).write(&[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::compat::command;

    fn job(token: &str) -> Job {
        let text = format!("stress_test:uri=ws://127.0.0.1:1;token={token};");
        Job {
            asker: ConnId {
                slot: 0,
                generation: 0,
            },
            test: command::parse(&text).expect("good"),
            cancelled: Arc::default(),
        }
    }

    #[test]
    fn jobs_are_run_in_order_and_not_for_who_left() {
        let jobs = Jobs::default();
        for token in ["a", "b", "c"] {
            let job = job(token);
            job.cancelled.store(token == "b", Ordering::Relaxed);
            assert!(jobs.push(job));
        }
        for token in ["a", "c"] {
            assert_eq!(jobs.wait().test.token(), token);
        }
        assert!(jobs.waiting.lock().expect("no panic").is_empty());
    }

    #[test]
    fn no_more_than_64_wait() {
        let jobs = Jobs::default();
        assert!((0..64).all(|_| jobs.push(job("t"))));
        assert!(!jobs.push(job("last")));
    }
}
