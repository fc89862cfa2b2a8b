//! Connections of workers: accepting, the PROXY header, HTTP/1.1, and the end of all of them.
//!
//! | limit | value | who exceeds it |
//! |---|---|---|
//! | connections | [`Options::connections_max`] | waits in the accept queue, and gets 502 from its worker when that is full |
//! | time for the PROXY header | [`HEADER_TIME_MAX`] | is disconnected |
//! | time for a request's head, time between two requests | [`Options::idle_timeout`] | is disconnected |
//! | bytes and fields of a request's head | [`Options::head_bytes_max`], [`Options::headers_max`] | gets 431 |
//!
//! A client that takes nothing is the worker's concern (`--write-timeout`).

use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::answer::Answering;
use crate::counts::{Counts, add, subtract};
use crate::options::Options;
use crate::peer::Peer;

/// Time for the PROXY header, which a worker sends as soon as it is connected. Chosen, untested.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes that a body may have in memory, each way.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Bytes of a head below which hyper refuses to work.
const HEAD_BYTES_LEAST: usize = 8 << 10;

/// Pause after a failed accept: no descriptor, no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the connections of `listener` until `drained` is ready. Then requests may end within [`Options::drain_timeout`]: a connection
/// gets one more answer, and it returns when no connection is left and `ended` is ready, or when the time is over.
///
/// # Errors
/// The directory of the files or of the CGI programs cannot be opened, or a field of [`Options::headers`] is none.
pub async fn serve(
    options: &Options,
    listener: UnixListener,
    (drained, ended): (impl Future<Output = ()>, impl Future<Output = ()>),
    counts: Arc<Counts>,
) -> io::Result<()> {
    let answering = Arc::new(Answering::new(options, counts.clone())?);
    let room = Arc::new(Semaphore::new(options.connections_max));
    let (tell, drains) = watch::channel(false);
    let builder = builder(options);
    let accept = accept(&listener, &room, |stream| {
        let connection = Connection {
            builder: builder.clone(),
            answering: answering.clone(),
            counts: counts.clone(),
            drains: drains.clone(),
        };
        connection.run(stream)
    });
    let mut accept = Box::pin(accept);
    tokio::select! {
        () = &mut accept => {}
        () = drained => {}
    }
    tell.send_replace(true);
    let all = u32::try_from(options.connections_max).unwrap_or(u32::MAX);
    let over = async {
        // What a worker has relayed a moment ago still comes, until there are no workers.
        tokio::select! {
            () = &mut accept => {}
            () = ended => {}
        }
        // It may hold a permit.
        drop(accept);
        let _ = room.acquire_many(all).await;
    };
    let _ = timeout(options.drain_timeout, over).await;
    answering.end().await;
    Ok(())
}

fn builder(options: &Options) -> http1::Builder {
    let head_bytes_max = options.head_bytes_max.max(HEAD_BYTES_LEAST);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(head_bytes_max.max(BODY_BYTES_MAX))
        .max_header_size(head_bytes_max)
        .max_headers(options.headers_max)
        // A client that ends its direction behind its request still gets the answer.
        .half_close(true);
    builder
}

/// Accepts for ever, as long as there is room.
async fn accept<F>(listener: &UnixListener, room: &Arc<Semaphore>, run: impl Fn(UnixStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut is_told = false;
    while let Ok(permit) = Arc::clone(room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                is_told = false;
                let served = run(stream);
                tokio::spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!("the web process cannot accept, and tries again: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How often it is looked whether the worker has broken a connection off: so long a program or an application works for nobody. Chosen.
const GONE_LOOK: Duration = Duration::from_secs(1);

struct Connection {
    builder: http1::Builder,
    answering: Arc<Answering>,
    counts: Arc<Counts>,
    drains: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: UnixStream) {
        let counts = self.counts.clone();
        add(&counts.accepted);
        add(&counts.connections);
        if self.serve(stream).await.is_none() {
            add(&counts.broken);
        }
        subtract(&counts.connections);
    }

    /// `None`: it ended with an error.
    async fn serve(self, mut stream: UnixStream) -> Option<()> {
        let peer = timeout(HEADER_TIME_MAX, Peer::read(&mut stream));
        let peer = peer.await.ok()?.ok()?;
        let gone = gone(&stream).ok()?;
        let answering = self.answering;
        let service = service_fn(move |request| {
            let answering = answering.clone();
            async move { answering.answer(request, peer).await }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut drains = self.drains;
        let drained = async move {
            // Fails only when nobody can tell any more.
            let _ = drains.wait_for(|drains| *drains).await;
        };
        let served = async {
            tokio::select! {
                result = connection.as_mut() => result,
                () = drained => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        tokio::select! {
            biased;
            result = served => result.ok(),
            // Whatever works for it is dropped.
            () = gone => None,
        }
    }
}

/// Waits until the worker has broken the connection off. One that has ended its direction alone still takes what comes, and hyper looks no
/// further than that end. It is looked for from time to time, because whoever waits for it is woken by every byte that is sent.
///
/// # Errors
/// There is no descriptor left.
fn gone(stream: &UnixStream) -> io::Result<impl Future<Output = ()> + use<>> {
    let watched = stream.as_fd().try_clone_to_owned()?;
    Ok(async move {
        loop {
            sleep(GONE_LOOK).await;
            // Whatever is asked for, the end of both directions is told.
            let mut asked = [PollFd::new(&watched, PollFlags::empty())];
            let at_once = Timespec::default();
            if let Ok(1..) = poll(&mut asked, Some(&at_once)) {
                return;
            }
        }
    })
}
