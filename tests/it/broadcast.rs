//! `--app=broadcast`, with real workers: who gets which message, in which order, and what becomes of those who do not keep up.

use std::collections::HashMap;
use std::time::Duration;

use crate::common::client::{Client, TEXT};
use crate::common::{PATIENCE, Server, go_on, kill, on_both_tiers, stop, until};

on_both_tiers!(
    every_message_reaches_every_client_on_every_worker,
    a_sender_is_left_out_if_it_is_to_be,
    clients_of_other_paths_hear_nothing,
    compressed_and_plain_subscribers_read_the_same,
    a_client_that_does_not_read_misses_messages_or_is_closed,
    a_worker_that_was_too_slow_counts_what_it_missed,
    order_holds_while_clients_come_and_go_and_a_worker_dies,
);

const BINARY: u8 = 0x82;

fn broadcast(io: &str, more: &[&str]) -> Server {
    Server::start_app("broadcast", io, more)
}

fn sum(server: &Server, name: &str) -> u64 {
    server.counter(name).iter().sum()
}

/// What was dropped for slow subscribers, for whatever reason.
fn dropped(server: &Server) -> u64 {
    ["oldest", "newest", "conflated", "too_big", "closed"]
        .map(|reason| sum(server, &format!("late_dropped_{reason}")))
        .iter()
        .sum()
}

/// `sender number` of a message.
fn fields(payload: &[u8]) -> (usize, usize) {
    let text = str::from_utf8(payload).expect("text");
    let mut words = text
        .split(' ')
        .map(|word| word.parse().unwrap_or(usize::MAX));
    (
        words.next().expect("a sender"),
        words.next().expect("a number"),
    )
}

fn every_message_reaches_every_client_on_every_worker(io: &str) {
    const EACH: usize = 50;
    let server = broadcast(io, &[]);
    let mut clients = server.clients_on_both_workers(3);
    let count = clients.len();
    for number in 0..EACH {
        for (sender, client) in clients.iter_mut().enumerate() {
            client.send(TEXT, format!("{sender} {number}").as_bytes());
        }
    }
    for client in &mut clients {
        let mut next = vec![0; count];
        for _ in 0..count * EACH {
            let frame = client.recv();
            assert_eq!(frame.first, TEXT);
            let (sender, number) = fields(&frame.payload);
            assert_eq!(number, next[sender], "of sender {sender}");
            next[sender] += 1;
        }
    }
    let all = (count * count * EACH) as u64;
    let delivered: u64 = server.counter_reaching("deliveries", all).iter().sum();
    assert_eq!(
        (delivered, sum(&server, "published")),
        (all, (count * EACH) as u64)
    );
    // Binary, empty, and a large one.
    for payload in [&b""[..], &[7], &vec![9; 100_000]] {
        clients[0].send(BINARY, payload);
        clients
            .iter_mut()
            .for_each(|client| client.expect(BINARY, payload));
    }
}

fn a_sender_is_left_out_if_it_is_to_be(io: &str) {
    let server = broadcast(io, &["--echo-self=false"]);
    let mut clients = server.clients_on_both_workers(2);
    let count = clients.len();
    for (sender, client) in clients.iter_mut().enumerate() {
        client.send(TEXT, format!("{sender} 0").as_bytes());
        client.send(TEXT, format!("{sender} 1").as_bytes());
    }
    for (own, client) in clients.iter_mut().enumerate() {
        let mut next = vec![0; count];
        for _ in 0..2 * (count - 1) {
            let (sender, number) = fields(&client.recv().payload);
            assert_ne!(sender, own);
            assert_eq!(number, next[sender]);
            next[sender] += 1;
        }
    }
    let all = (2 * count * (count - 1)) as u64;
    assert_eq!(
        server
            .counter_reaching("deliveries", all)
            .iter()
            .sum::<u64>(),
        all
    );
}

fn clients_of_other_paths_hear_nothing(io: &str) {
    let service = "--service=/live/*=broadcast,/echo=echo";
    let server = Server::start(&["--workers=2", "--port=auto", io, service]);
    let at = |path: &str| Client::connect_to(&server.address(), path);
    let (mut a, mut a_too, mut b, mut echo) =
        (at("/live/a"), at("/live/a"), at("/live/b"), at("/echo"));
    a.send(TEXT, b"for a");
    a.expect(TEXT, b"for a");
    a_too.expect(TEXT, b"for a");
    b.send(TEXT, b"for b");
    b.expect(TEXT, b"for b");
    echo.echo(TEXT, b"for me");
    a_too.send(TEXT, b"again");
    a.expect(TEXT, b"again");
}

#[test]
fn a_tick_comes_to_all() {
    let server = broadcast("--io=auto", &["--tick=20ms"]);
    let mut clients = server.clients_on_both_workers(1);
    for client in &mut clients {
        let number = |payload: &[u8]| {
            let text = str::from_utf8(payload).expect("text");
            text.strip_prefix("tick ")
                .expect("a tick")
                .parse::<u64>()
                .expect("a number")
        };
        let first = number(&client.recv().payload);
        assert_eq!(number(&client.recv().payload), first + 1);
    }
}

#[test]
fn a_message_above_the_bus_is_1009() {
    let server = broadcast("--io=auto", &["--bus-log=64KiB"]);
    let mut client = Client::connect(&server.address());
    let fits = vec![b'x'; 8000];
    client.send(TEXT, &fits);
    client.expect(TEXT, &fits);
    client.send(TEXT, &vec![b'x'; 8192]);
    client.expect_failed_with(1009);
}

fn compressed_and_plain_subscribers_read_the_same(io: &str) {
    let server = broadcast(io, &["--deflate", "--deflate-threshold=1"]);
    let text = "the same text, the same text, the same text ".repeat(20);
    let offer = "permessage-deflate; server_no_context_takeover";
    let (mut compressed, agreed) = Client::offering(&server.address(), offer);
    assert!(agreed.is_some());
    let (mut takeover, _) = Client::offering(&server.address(), "permessage-deflate");
    let mut plain = Client::connect(&server.address());
    let mut before = flate2::Decompress::new(false);
    for round in 0..3 {
        let text = format!("{round} {text}");
        plain.send(TEXT, text.as_bytes());
        plain.expect(TEXT, text.as_bytes());
        let inflate = |inflater: &mut flate2::Decompress, frame: crate::common::client::Frame| {
            assert_eq!(frame.first, TEXT | 0x40);
            let bytes = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
            let mut out = Vec::with_capacity(10_000);
            let flush = flate2::FlushDecompress::Sync;
            inflater
                .decompress_vec(&bytes, &mut out, flush)
                .expect("deflate");
            String::from_utf8(out).expect("text")
        };
        let fresh = &mut flate2::Decompress::new(false);
        assert_eq!(inflate(fresh, compressed.recv()), text);
        assert_eq!(inflate(&mut before, takeover.recv()), text);
    }
    server.counter_reaching("deflated", 6);
}

/// Sends `count` messages of 10 kB from the first client, and reads them at all of them but the last.
fn send_past_a_slow_one(clients: &mut [Client], count: usize) {
    let (_slow, others) = clients.split_last_mut().expect("some");
    for number in 0..count {
        others[0].send(
            TEXT,
            format!("0 {number} {}", "x".repeat(10_000)).as_bytes(),
        );
        for client in others.iter_mut() {
            assert_eq!(fields(&client.recv().payload), (0, number));
        }
    }
}

fn a_client_that_does_not_read_misses_messages_or_is_closed(io: &str) {
    const COUNT: usize = 1000;
    for (policy, reason) in [
        ("drop-oldest", "oldest"),
        ("drop-newest", "newest"),
        ("conflate", "conflated"),
        ("close", "closed"),
    ] {
        let policy = format!("--slow-policy={policy}");
        // One of both limits is reached: ten messages, or the bytes of as many.
        let [messages, bytes] = match reason {
            "newest" => ["--slow-messages=1000", "--slow-bytes=100KiB"],
            _ => ["--slow-messages=10", "--slow-bytes=1MiB"],
        };
        let limits = [messages, bytes, "--sndbuf=16KiB", &policy];
        let server = broadcast(io, &limits);
        let mut clients = server.clients_on_both_workers(1);
        clients.push(Client::connect(&server.address()));
        let count = clients.len() as u64;
        send_past_a_slow_one(&mut clients, COUNT);
        // The kernel's buffers hold some hundred of them at most.
        server.counter_reaching(&format!("late_dropped_{reason}"), 1);
        let mut slow = clients.pop().expect("the slow one");
        let mut read = 0;
        let mut last = None;
        if reason == "closed" {
            let code = loop {
                match slow.recv() {
                    frame if frame.first == TEXT => read += 1,
                    frame => break u16::from_be_bytes([frame.payload[0], frame.payload[1]]),
                }
            };
            assert_eq!(code, 1013);
        } else {
            // A message behind all others may be dropped as well: then there is another one, once nothing comes any more.
            let mut sent = COUNT;
            while last.is_none_or(|last| last < COUNT) {
                slow.set_patience(Duration::from_millis(300));
                if slow.stream().peek(&mut [0]).is_err() {
                    clients[0].send(TEXT, format!("0 {sent} ").as_bytes());
                    sent += 1;
                    continue;
                }
                slow.set_patience(PATIENCE);
                let (_, number) = fields(&slow.recv().payload);
                assert!(last.is_none_or(|last| last < number), "in order");
                (last, read) = (Some(number), read + 1);
            }
            let sent = sent as u64;
            // All but what was dropped for it.
            let all = sent * count;
            let mut seen = (0, 0);
            until("every message is accounted for", || {
                seen = (sum(&server, "deliveries"), dropped(&server));
                seen.0 + seen.1 == all
            });
            assert!(
                read + seen.1 <= sent,
                "{reason}: {read} + {} of {sent}",
                seen.1
            );
        }
        assert!(read < COUNT as u64, "{reason}: {read} of {COUNT} were read");
    }
}

fn a_worker_that_was_too_slow_counts_what_it_missed(io: &str) {
    const COUNT: usize = 200;
    let server = broadcast(io, &["--bus-log=64KiB"]);
    let clients = server.clients_on_both_workers(2);
    let (mut awake, mut asleep) = (Vec::new(), Vec::new());
    for (own, mut client) in clients.into_iter().enumerate() {
        let before = server.counter("messages_in");
        client.send(TEXT, format!("{own} 0").as_bytes());
        let after = server.counter_reaching("messages_in", own as u64 + 1);
        match after[1] > before[1] {
            true => asleep.push(client),
            false => awake.push(client),
        }
    }
    let stopped = server.seats()[1];
    stop(stopped);
    assert!(!awake.is_empty() && !asleep.is_empty());
    let sender = &mut awake[0];
    for number in 0..COUNT {
        let text = format!("9999 {number} {}", "x".repeat(1000));
        sender.send(TEXT, text.as_bytes());
        while fields(&sender.recv().payload) != (9999, number) {}
    }
    go_on(stopped);
    let missed = server.counter_reaching("bus_missed", 1)[1];
    sender.send(TEXT, b"9999 1000000");
    for client in &mut asleep {
        let (mut read, mut next) = (0, 0);
        loop {
            let (from, number) = fields(&client.recv().payload);
            match (from, number) {
                (9999, 1_000_000) => break,
                (9999, _) => {
                    assert!(number >= next, "in order and once");
                    (read, next) = (read + 1, number + 1);
                }
                _ => {}
            }
        }
        assert_eq!(read + missed, COUNT as u64);
    }
}

fn order_holds_while_clients_come_and_go_and_a_worker_dies(io: &str) {
    const ROUNDS: usize = 300;
    let server = broadcast(io, &[]);
    let mut clients = server.clients_on_both_workers(3);
    let victim = server.seats()[0];
    // Of each client: the number that it expects from each sender. A client that comes later begins anywhere.
    let mut next: Vec<HashMap<usize, usize>> = vec![HashMap::new(); clients.len()];
    let mut senders: Vec<usize> = (0..clients.len()).collect();
    let mut fresh = clients.len();
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            kill(victim);
        }
        let mut at = 0;
        let mut one_leaves = round % 10 == 0;
        while at < clients.len() {
            let text = format!("{} {round}", senders[at]);
            let sent = clients[at].try_write(&crate::common::client::frame(TEXT, text.as_bytes()));
            let is_alive =
                sent.is_ok() && hear(&mut clients[at], &mut next[at], (senders[at], round));
            if is_alive && !std::mem::take(&mut one_leaves) {
                at += 1;
                continue;
            }
            // It leaves, or its worker was killed: another one comes in its place.
            clients.remove(at);
            next.remove(at);
            senders.remove(at);
            if let Ok(client) = Client::try_connect(&server.address()) {
                clients.push(client);
                next.push(HashMap::new());
                senders.push(fresh);
                fresh += 1;
            }
        }
    }
    assert!(clients.len() >= 3, "{} are left", clients.len());
    until("the worker was replaced", || {
        // Between the two there is none.
        let pid = server.stats()["workers"][0]["pid"].as_u64();
        pid.is_some_and(|pid| pid != u64::from(victim))
    });
    // The new worker hears the old one, and is heard.
    let mut late = server.clients_on_both_workers(1);
    late[0].send(TEXT, b"9999 0");
    for client in &mut late {
        while fields(&client.recv().payload) != (9999, 0) {}
    }
}

/// Reads until a client's own message has come, and checks the order of all. `false`: its worker is gone.
fn hear(client: &mut Client, next: &mut HashMap<usize, usize>, own: (usize, usize)) -> bool {
    loop {
        let Ok(frame) = client.try_recv() else {
            return false;
        };
        let (sender, number) = fields(&frame.payload);
        if let Some(before) = next.insert(sender, number) {
            assert_eq!(number, before + 1, "of sender {sender}");
        }
        if (sender, number) == own {
            return true;
        }
    }
}

/// What an application of one's own does with topics: rooms by pattern, notes to all workers, and what was missed.
mod application {
    use std::num::NonZeroU64;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use ringway::{
        App, Audience, BusOptions, Context, Handle, Kind, Message, News, PublishError, Server,
        SubscribeError,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Rooms {
        notes: Arc<AtomicU64>,
        missed: Arc<AtomicU64>,
        /// Subscribers of one topic at the workers that heard a note.
        subscribers: Arc<AtomicU64>,
        to_note: Option<Vec<u8>>,
    }

    impl App for Rooms {
        type Session = ();

        /// `+pattern`, `-pattern`, `topic=text`, `!note`.
        fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
            let text = message.text().expect("text").to_owned();
            let answer = match text.split_at(1) {
                ("+", pattern) => format!("{:?}", context.subscribe(pattern)),
                ("-", pattern) => format!("{:?}", context.unsubscribe(pattern)),
                ("!", note) => {
                    self.to_note = Some(note.as_bytes().to_vec());
                    context.commands().wake();
                    "noted".to_owned()
                }
                _ => {
                    let (topic, text) = text.split_once('=').expect("a topic");
                    let text = text.as_bytes();
                    format!(
                        "{:?}",
                        context.publish(topic, Kind::Text, text, Audience::Others)
                    )
                }
            };
            context.send(Kind::Text, answer.as_bytes()).expect("room");
        }

        fn missed(&mut self, _context: &mut Context<'_>, (): &mut (), messages: NonZeroU64) {
            self.missed.fetch_add(messages.get(), Ordering::Relaxed);
        }

        fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>) {
            if let News::Note { topic, body, .. } = news {
                assert_eq!((*topic, *body), (&b"rooms"[..], &b"hello"[..]));
                let subscribers = worker.subscribers("room/a") as u64;
                self.subscribers.fetch_add(subscribers, Ordering::Relaxed);
                self.notes.fetch_add(1, Ordering::Release);
            }
        }

        fn turn(&mut self, worker: &mut Handle<'_>) {
            if let Some(note) = self.to_note.take() {
                worker.note("rooms", &note).expect("there is a bus");
            }
        }
    }

    fn ask(client: &mut Client, text: &str) -> String {
        client.send(TEXT, text.as_bytes());
        String::from_utf8(client.recv().payload).expect("text")
    }

    #[test]
    fn topics_connect_the_threads_of_a_server() {
        let rooms = Rooms::default();
        let (own, server) = (rooms.clone(), Server::new("ws://127.0.0.1:0").workers(2));
        let server = server
            .bus(BusOptions::default())
            .start(move |_| own.clone());
        let server = server.expect("a free port");
        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.url())).collect();
        for client in &mut clients[..7] {
            assert_eq!(ask(client, "+room/+"), "Ok(())");
            assert_eq!(ask(client, "+room/a"), "Ok(())");
        }
        assert_eq!(ask(&mut clients[7], "room/a=first"), "Ok(())");
        assert_eq!(ask(&mut clients[7], "hall=nobody"), "Ok(())");
        assert_eq!(ask(&mut clients[7], "room/b=second"), "Ok(())");
        for client in &mut clients[..7] {
            // Once, though two subscriptions match.
            client.expect(TEXT, b"first");
            client.expect(TEXT, b"second");
        }
        assert_eq!(ask(&mut clients[0], "-room/+"), "true");
        assert_eq!(ask(&mut clients[0], "-room/+"), "false");
        assert!(ask(&mut clients[0], "+a/#/b").starts_with("Err(BadTopic("));
        assert!(ask(&mut clients[0], "a/+=text").starts_with("Err(BadTopic("));
        assert_eq!(ask(&mut clients[7], "room/b=third"), "Ok(())");
        assert_eq!(ask(&mut clients[7], "room/a=fourth"), "Ok(())");
        clients[0].expect(TEXT, b"fourth");
        clients[1].expect(TEXT, b"third");
        assert_eq!(ask(&mut clients[7], "!hello"), "noted");
        until("both workers hear the note", || {
            rooms.notes.load(Ordering::Acquire) == 2
        });
        assert_eq!(rooms.subscribers.load(Ordering::Relaxed), 7);
        let counters = server.counters();
        assert_eq!(
            (counters.published, counters.deliveries),
            (5, 7 + 7 + 6 + 7)
        );
        server.shutdown().expect("an orderly end");
    }

    #[test]
    fn an_application_without_a_bus_is_told_so() {
        let server = Server::new("ws://127.0.0.1:0")
            .workers(1)
            .start(|_| Rooms::default());
        let server = server.expect("a free port");
        let mut client = Client::connect(server.url());
        assert_eq!(
            ask(&mut client, "+a"),
            format!("{:?}", Err::<(), _>(SubscribeError::NoBus))
        );
        assert_eq!(
            ask(&mut client, "a=b"),
            format!("{:?}", Err::<(), _>(PublishError::NoBus))
        );
    }

    #[test]
    fn a_connection_learns_what_it_missed() {
        let options = BusOptions {
            queue: ringway::bus::QueueLimits {
                messages_max: 5,
                ..BusOptions::default().queue
            },
            ..BusOptions::default()
        };
        let rooms = Rooms::default();
        let own = rooms.clone();
        let server = Server::new("ws://127.0.0.1:0").workers(1).bus(options);
        let server = server.start(move |_| own.clone()).expect("a free port");
        let mut slow = Client::connect(server.url());
        assert_eq!(ask(&mut slow, "+a"), "Ok(())");
        let mut sender = Client::connect(server.url());
        let text = format!("a={}", "x".repeat(100_000));
        let mut sent = 0;
        until("messages are dropped", || {
            assert_eq!(ask(&mut sender, &text), "Ok(())");
            sent += 1;
            server.counters().late_dropped_oldest >= 3
        });
        let mut read = 0;
        until("all were read or missed", || {
            slow.recv();
            read += 1;
            read + rooms.missed.load(Ordering::Relaxed) == sent
        });
        assert_eq!(server.counters().late_dropped_oldest, sent - read);
    }
}
