//! Asynchronous handlers in a real server: what runs on other threads wakes them, and they end with their connection.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ringway::tasks::Bridge;
use ringway::{Async, AsyncApp, Connection, OwnedMessage, OwnedOpening, Running, Server, Verdict};

use crate::common::client::{Client, REQUEST, TEXT, exchange, read_head};
use crate::common::until;

fn address(running: &Running) -> String {
    let url = running.url();
    let address = url.strip_prefix("ws://").expect("no TLS");
    address.trim_end_matches('/').to_owned()
}

/// Writes shouts, with the help of libraries that need tokio. A client needs a cookie, which such a library looks up.
struct Shouter {
    bridge: Bridge,
}

impl AsyncApp for Shouter {
    /// Who the client is.
    type Session = std::cell::OnceCell<String>;

    async fn connect(
        self: Rc<Self>,
        connection: Connection<Self::Session>,
        opening: OwnedOpening,
    ) -> Verdict {
        let cookie = opening.cookie("session").unwrap_or_default().to_owned();
        let found = self.bridge.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if cookie == "slow" {
                std::future::pending::<()>().await;
            }
            (cookie == "42").then(|| "anna".to_owned())
        });
        match found.await {
            Some(name) => {
                let _ = connection.session().set(name);
                Verdict::accept().header("X-User", "anna")
            }
            None => Verdict::refuse(401, "log in first"),
        }
    }

    async fn message(self: Rc<Self>, connection: Connection<Self::Session>, message: OwnedMessage) {
        let text = message.text().unwrap_or_default().to_owned();
        let shouted = self.bridge.spawn(async move {
            tokio::task::yield_now().await;
            text.to_uppercase()
        });
        let name = connection.session().get().cloned().unwrap_or_default();
        let answer = format!("{name}: {}", shouted.await);
        let _ = connection.send(answer).await;
    }
}

fn shouter(handshake_timeout: Duration) -> Running {
    let server = Server::new("ws://127.0.0.1:0").workers(2);
    let started = server
        .handshake_timeout(handshake_timeout)
        .start(|_worker| {
            let bridge = Bridge::start().expect("a thread");
            Async::new(Shouter { bridge })
        });
    started.expect("a free port")
}

fn request(cookie: &str) -> String {
    REQUEST.replace(
        "\r\n\r\n",
        &format!("\r\nCookie: a=b; session={cookie}\r\n\r\n"),
    )
}

fn open(address: &str) -> Client {
    use std::io::Write as _;
    let mut stream = crate::common::client::dial(address).expect("it listens");
    stream
        .write_all(request("42").as_bytes())
        .expect("a request");
    Client::opened(stream).expect("a WebSocket opens")
}

#[test]
fn handlers_await_what_runs_on_a_tokio_runtime_and_answer_in_order() {
    let server = shouter(Duration::from_secs(60));
    let address = address(&server);
    let mut clients: Vec<Client> = (0..8).map(|_| open(&address)).collect();
    for client in &mut clients {
        for number in 0..200 {
            client.send(TEXT, format!("number {number}").as_bytes());
        }
    }
    for client in &mut clients {
        for number in 0..200 {
            client.expect(TEXT, format!("anna: NUMBER {number}").as_bytes());
        }
    }
    clients.into_iter().for_each(Client::close);
    let counters = server.counters();
    assert_eq!((counters.drops, counters.unhandled), (0, 0));
    server.shutdown().expect("an orderly end");
}

#[test]
fn a_verdict_comes_from_another_thread_or_the_handshake_times_out() {
    use std::io::Write as _;
    let server = shouter(Duration::from_secs(2));
    let address = address(&server);
    let refused = exchange(&address, request("7").as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("log in first"), "{refused}");
    let late = exchange(&address, request("slow").as_bytes());
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    let mut stream = crate::common::client::dial(&address).expect("it listens");
    stream
        .write_all(request("42").as_bytes())
        .expect("a request");
    let (head, _) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("X-User: anna"), "{head}");
    drop(stream);
    server.shutdown().expect("an orderly end");
}

/// A thread answers each message, one by one; a wake that is lost leaves its client without an answer.
#[test]
fn a_thread_wakes_handlers_of_sleeping_workers() {
    type Question = (String, tokio::sync::oneshot::Sender<String>);
    let (ask, asked) = mpsc::channel::<Question>();
    let thread = std::thread::spawn(move || {
        for (text, answer) in asked {
            // The handler may be gone.
            let _ = answer.send(text.chars().rev().collect());
        }
    });
    let started = Server::new("ws://127.0.0.1:0")
        .workers(2)
        .start(move |_worker| {
            let ask = ask.clone();
            Async::new(move |connection: Connection, message: OwnedMessage| {
                let (reply, answer) = tokio::sync::oneshot::channel();
                let text = message.text().unwrap_or_default().to_owned();
                ask.send((text, reply)).expect("the thread lives");
                async move {
                    let answer = answer.await.expect("the thread answers");
                    let _ = connection.send(answer).await;
                }
            })
        });
    let server = started.expect("a free port");
    let address = address(&server);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&address)).collect();
    for round in 0..500 {
        for client in &mut clients {
            client.send(TEXT, format!("abc{round}").as_bytes());
        }
        let reversed: String = format!("abc{round}").chars().rev().collect();
        for client in &mut clients {
            client.expect(TEXT, reversed.as_bytes());
        }
    }
    server.shutdown().expect("an orderly end");
    thread.join().expect("the last sender is gone");
}

#[test]
fn futures_are_dropped_when_their_client_leaves_and_when_the_server_ends() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let held = Arc::new(AtomicUsize::new(0));
    let holds = Arc::clone(&held);
    let server = Server::new("ws://127.0.0.1:0").workers(2);
    let started = server
        .drain_timeout(Duration::from_millis(100))
        .start(move |_worker| {
            let holds = Arc::clone(&holds);
            Async::new(move |_: Connection, _: OwnedMessage| {
                holds.fetch_add(1, Ordering::SeqCst);
                let held = Held(Arc::clone(&holds));
                async move {
                    let _held = held;
                    std::future::pending().await
                }
            })
        });
    let server = started.expect("a free port");
    let address = address(&server);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&address)).collect();
    for client in &mut clients {
        client.send(TEXT, b"hold");
    }
    until("every handler runs", || held.load(Ordering::SeqCst) == 6);
    clients.pop().expect("six").reset();
    drop(clients.pop().expect("five"));
    until("two handlers have ended", || {
        held.load(Ordering::SeqCst) == 4
    });
    server.shutdown().expect("an orderly end");
    assert_eq!(held.load(Ordering::SeqCst), 0);
}
