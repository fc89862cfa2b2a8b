//! A tokio runtime on a thread beside the worker, for libraries that need one: clients of databases, of HTTP.
//!
//! Owns: the thread. Never: touches the worker; a result wakes the handler that awaits it, through the worker's bell.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Threads for what blocks, such as names and files.
const BLOCKING_THREADS_MAX: usize = 8;

/// A tokio runtime on a thread of its own, with time and sockets. Clones are the same; the thread ends with the last of them, and
/// with it what runs there.
#[derive(Clone, Debug)]
pub struct Bridge(Arc<Side>);

#[derive(Debug)]
struct Side {
    runtime: Handle,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Bridge {
    /// Starts the thread. A service usually makes one for itself, in each worker.
    ///
    /// # Errors
    /// No thread or no descriptor is left.
    pub fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("ringway-bridge".to_owned())
            .spawn(move || {
                // Ends when the other half is dropped: that is an error here, and what is waited for.
                let _ = runtime.block_on(ended);
                runtime.shutdown_background();
            })?;
        Ok(Self(Arc::new(Side {
            runtime: handle,
            _end: end,
        })))
    }

    /// Runs `future` there, from now on. Await the result in a handler, or anywhere else; dropping it cancels the future.
    pub fn spawn<F>(&self, future: F) -> Spawned<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned {
            task: self.0.runtime.spawn(future),
            _bridge: self.clone(),
        }
    }
}

/// The result of [`Bridge::spawn`]. A panic there is a panic here.
#[must_use = "dropped, it cancels what runs on the bridge"]
pub struct Spawned<T> {
    task: JoinHandle<T>,
    /// The runtime runs as long as somebody waits for it.
    _bridge: Bridge,
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").finish_non_exhaustive()
    }
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.task)
            .poll(context)
            .map(|ended| match ended {
                Ok(output) => output,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => {
                        unreachable!("the runtime runs, and only the end of this future cancels")
                    }
                },
            })
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_nobody_awaits_is_cancelled() {
        struct Told(mpsc::Sender<&'static str>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        let bridge = Bridge::start().expect("a thread");
        let (tell, told) = mpsc::channel();
        let spawned = bridge.spawn(async move {
            let told = Told(tell);
            let _ = told.0.send("began");
            std::future::pending::<()>().await;
        });
        let next = || told.recv_timeout(Duration::from_secs(30));
        assert_eq!(next(), Ok("began"));
        drop(spawned);
        assert_eq!(next(), Ok("dropped"));
    }

    #[test]
    fn a_result_outlives_the_last_handle() {
        let bridge = Bridge::start().expect("a thread");
        let spawned = bridge.spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            7
        });
        drop(bridge);
        let runtime = runtime::Builder::new_current_thread().build();
        assert_eq!(runtime.expect("a runtime").block_on(spawned), 7);
    }
}
