//! What blocks: names, files and password hashes, on threads beside the worker.
//!
//! Owns: how many run at a time. A client that does not wait any more leaves nothing behind but what has begun.

use std::net::{SocketAddr, ToSocketAddrs as _};

use tokio::sync::Semaphore;

/// How many calls of one kind run at a time in each worker. Together they are the threads of the side
/// ([`ringway::services::gateway`]): slow ones of one kind do not hold up the others.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

/// Hashes of passwords: they take the worker's own CPU.
pub(super) static HASHES: Room = Room(Semaphore::const_new(2));
/// Names, whose servers may be slow.
static NAMES: Room = Room(Semaphore::const_new(4));
/// Files.
pub(super) static FILES: Room = Room(Semaphore::const_new(2));

/// Runs `work` where it may block, as soon as there is room. `None`: it has panicked.
pub(super) async fn blocking<T: Send + 'static>(
    room: &'static Room,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let room = room.0.acquire().await.ok()?;
    let running = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(room);
        done
    });
    running.await.ok()
}

/// The addresses of a host.
pub(super) async fn addresses(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    let found = blocking(&NAMES, move || (host.as_str(), port).to_socket_addrs()).await;
    let found = found.ok_or_else(|| std::io::Error::other("the lookup has failed"))??;
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_stops_waiting_takes_its_work_out_of_the_queue() {
        static ROOM: Room = Room(Semaphore::const_new(3));
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static OPEN: AtomicUsize = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let wait = || {
                BEGUN.fetch_add(1, Ordering::Relaxed);
                while OPEN.load(Ordering::Relaxed) == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            let all: Vec<_> = (0..100)
                .map(|_| {
                    tokio::spawn(tokio::time::timeout(
                        Duration::from_millis(50),
                        blocking(&ROOM, wait),
                    ))
                })
                .collect();
            for one in all {
                assert!(
                    one.await.expect("no panic").is_err(),
                    "nothing ends in time"
                );
            }
            OPEN.store(1, Ordering::Relaxed);
            assert_eq!(blocking(&ROOM, || 7).await, Some(7));
        });
        assert!(BEGUN.load(Ordering::Relaxed) <= 3);
    }
}
