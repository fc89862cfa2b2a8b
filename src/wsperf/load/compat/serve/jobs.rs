//! Tests that wait for a thread, and the threads.
//!
//! Owns: one queue, first in first out; what a thread says about its test. Never: touches a control connection: what is
//! said goes through a channel, and a byte on a socket pair wakes the loop that sends it on.

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

/// Tests that wait, over all control connections: more is no queue but a backlog. Chosen, untested.
const WAITING_MAX: usize = 64;

/// A test that was asked for.
#[derive(Debug)]
pub(super) struct Job {
    /// Who asked.
    pub(super) asker: ConnId,
    pub(super) test: Test,
    /// The asker is gone.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// Something to be sent to who asked.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) to: ConnId,
    pub(super) text: String,
    /// It is the last about a test.
    pub(super) last: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    waiting: Mutex<VecDeque<Job>>,
    more: Condvar,
}

impl Jobs {
    /// Puts a job at the end, if there is room.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push_back(job);
        self.more.notify_one();
        true
    }

    /// Waits for the first that somebody still waits for.
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

/// What runs jobs.
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

    /// Tells that a test begins, runs it, and tells what came of it.
    fn run(&self, job: &Job, id: usize) {
        let token = job.test.token();
        self.say(job, reply::start(token, id), false);
        match self.result(job) {
            Ok(Some(data)) => {
                self.say(job, data, false);
                self.say(job, reply::complete(token), true);
            }
            // Nobody is there any more.
            Ok(None) => {}
            Err(text) => self.say(job, text, true),
        }
    }

    /// The reply with the result; none when the test was cancelled; or the reply with an error.
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
            // Full: the loop has bytes to wake up from already.
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
