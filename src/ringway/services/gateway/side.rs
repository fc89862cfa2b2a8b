//! The side thread of a worker: where its gateway waits for names, files, other servers and slow hashes.
//!
//! Owns: the thread and its runtime, and the time-out. Never: knows what is asked, or for whom.
//!
//! ```text
//!  worker ── ask ──▶ channel ──▶ side thread: one task each ──▶ answers ──▶ waker ──▶ worker
//! ```
//!
//! What waits is bounded by the caller, which has one question for each client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Found, Refusal, Why};
use crate::io::ConnId;
use crate::protocol::Waker;

/// Threads for what blocks: names and files.
const BLOCKING_THREADS_MAX: usize = 8;

/// What a [`Guide`](super::Guide) answers.
pub type Answer = Result<Found, Refusal>;

/// What runs beside the worker, on a tokio runtime with time and sockets.
pub type Later = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A handle of the side thread, which ends with it.
#[derive(Debug)]
pub(super) struct Side {
    asks: UnboundedSender<Ask>,
    answers: Answers,
}

type Answers = Arc<Mutex<Vec<(ConnId, Answer)>>>;

struct Ask {
    id: ConnId,
    run: Later,
    timeout: Duration,
}

impl Side {
    /// Starts the thread. Its signals are blocked as its starter's are.
    pub(super) fn start(waker: Waker) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let (asks, asked) = unbounded_channel();
        let answers = Answers::default();
        let to = Arc::clone(&answers);
        thread::Builder::new()
            .name("ringway-side".to_owned())
            .spawn(move || runtime.block_on(answer_all(asked, to, waker)))?;
        Ok(Self { asks, answers })
    }

    pub(super) fn ask(&self, id: ConnId, run: Later, timeout: Duration) {
        let ask = Ask { id, run, timeout };
        if let Err(refused) = self.asks.send(ask) {
            // The thread is gone, which only a panic does.
            lock(&self.answers).push((refused.0.id, Err(no_answer())));
        }
    }

    /// The answers since the last call.
    pub(super) fn answers(&self) -> Vec<(ConnId, Answer)> {
        std::mem::take(&mut lock(&self.answers))
    }
}

fn lock(answers: &Answers) -> std::sync::MutexGuard<'_, Vec<(ConnId, Answer)>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer_all(mut asked: UnboundedReceiver<Ask>, answers: Answers, waker: Waker) {
    while let Some(Ask { id, run, timeout }) = asked.recv().await {
        let (answers, waker) = (Arc::clone(&answers), waker.clone());
        tokio::spawn(async move {
            let answer = tokio::time::timeout(timeout, run).await;
            let answer = answer.unwrap_or_else(|_| Err(no_answer()));
            lock(&answers).push((id, answer));
            waker.wake();
        });
    }
}

/// Whoever was asked has not answered.
pub(super) fn no_answer() -> Refusal {
    let sentence = "the target of this session is not known in time: try again later";
    Refusal::new(Why::NoAnswer, 504, sentence)
}
