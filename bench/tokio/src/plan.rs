//! The client's plan: which messages a connection sends in which turn, and when all connections begin and have ended.
//!
//! ```text
//! open ─ warm-up ─┤ all there ├─ start ─ measured turns ─┤ all there ├─ report ─ silent
//! ```

use std::future::Future;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::unconstrained;

use crate::usage::Usage;
use crate::{Client, Error};

/// Contents of messages: a prime, so that a message that is dropped, doubled or reordered shows in what comes back.
const VARIANTS: usize = 7;

/// What all connections do. `M` is a message in the library's own type, made once and cloned for each use.
#[derive(Debug)]
pub struct Plan<M> {
    options: Client,
    /// The variants one after the other, and again from the first, so that any turn is a slice of it.
    messages: Vec<M>,
    /// Passed three times: everybody is warm; the clock runs; everybody is done.
    barrier: Barrier,
}

impl<M> Plan<M> {
    /// `message` makes a message of text, or of bytes, with this payload. It is printable ASCII in either case.
    pub fn new(options: Client, message: impl Fn(Bytes, bool) -> M) -> Self {
        let variant =
            |n: usize| (0..options.size).map(|at| b' ' + ((at * 31 + n * 13) % 95) as u8).collect::<Vec<u8>>();
        let payloads: Vec<Bytes> = (0..VARIANTS).map(|n| variant(n).into()).collect();
        let messages = payloads.iter().cycle().take(VARIANTS + options.in_flight);
        let messages = messages.map(|payload| message(payload.clone(), !options.binary)).collect();
        Self { options, messages, barrier: Barrier::new(options.connections + 1) }
    }

    /// The options.
    pub fn options(&self) -> &Client {
        &self.options
    }

    /// The turns of one connection.
    pub fn turns(&self) -> Turns<'_, M> {
        let per_turn = self.options.connections * self.options.in_flight;
        let warm_up = self.options.warm_up.div_ceil(per_turn);
        Turns { plan: self, at: 0, warm_up, end: warm_up + self.options.messages.div_ceil(per_turn) }
    }

    /// # Errors
    /// What came back is not what was sent.
    pub fn check(&self, is_echo: bool) -> Result<(), Error> {
        if is_echo { Ok(()) } else { Err("what came back is not what was sent".into()) }
    }

    /// Waits for the connections, and prints what the measured turns took, as one JSON object.
    async fn report(&self) -> io::Result<()> {
        self.barrier.wait().await;
        let (begin, before) = (Instant::now(), Usage::now()?);
        self.barrier.wait().await;
        self.barrier.wait().await;
        let (seconds, after) = (begin.elapsed().as_secs_f64(), Usage::now()?);
        let turns = self.turns();
        let messages = (turns.end - turns.warm_up) * self.options.connections * self.options.in_flight;
        println!(
            r#"{{"messages":{messages},"seconds":{seconds:.6},"cpu_s":{:.6},"waited_s":{:.6},"resident_kib_max":{}}}"#,
            after.cpu_s - before.cpu_s,
            after.waited_s - before.waited_s,
            after.resident_kib_max
        );
        io::stdout().flush()?;
        if self.options.hold {
            // The connections wait for the server meanwhile.
            let until_stdin_ends = || io::stdin().read_to_end(&mut Vec::new());
            tokio::task::spawn_blocking(until_stdin_ends).await??;
        }
        Ok(())
    }
}

/// See [`Plan::turns`].
#[derive(Debug)]
pub struct Turns<'plan, M> {
    plan: &'plan Plan<M>,
    at: usize,
    warm_up: usize,
    end: usize,
}

impl<'plan, M> Turns<'plan, M> {
    /// The messages of the next turn. `None`: all was sent, and all connections are done.
    pub async fn next(&mut self) -> Option<&'plan [M]> {
        if self.at == self.warm_up {
            self.plan.barrier.wait().await;
            self.plan.barrier.wait().await;
        }
        if self.at == self.end {
            self.plan.barrier.wait().await;
            return None;
        }
        let in_flight = self.plan.options.in_flight;
        let from = self.at * in_flight % VARIANTS;
        self.at += 1;
        Some(&self.plan.messages[from..from + in_flight])
    }
}

/// Opens the connections, gives each a task without tokio's budget, and reports.
pub async fn run<M, F>(plan: Plan<M>, talk: impl Fn(TcpStream, Arc<Plan<M>>) -> F) -> io::Result<()>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
    M: Send + Sync + 'static,
{
    let plan = Arc::new(plan);
    for _ in 0..plan.options.connections {
        let stream = TcpStream::connect(plan.options.address).await?;
        stream.set_nodelay(true)?;
        let talk = talk(stream, Arc::clone(&plan));
        tokio::spawn(unconstrained(async move { end_if_failed(talk.await) }));
    }
    plan.report().await
}

/// The same where tasks stay on their thread: `spawn` opens a connection and gives it a task.
pub async fn run_local<M, F>(plan: Plan<M>, spawn: impl Fn(Rc<Plan<M>>) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    let plan = Rc::new(plan);
    for _ in 0..plan.options.connections {
        spawn(Rc::clone(&plan)).await?;
    }
    plan.report().await
}

/// A run with a fault is an error, not a number.
pub fn end_if_failed(result: Result<(), Error>) {
    if let Err(error) = result {
        eprintln!("a connection failed: {error}");
        std::process::exit(1);
    }
}
