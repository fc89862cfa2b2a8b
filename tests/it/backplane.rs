//! `--backplane` with two servers and a real broker, `nats-server` or `redis-server`: who gets what. `killed`: what becomes of it when the
//! broker, a bridge or a worker is killed. The rules have their tests in `src/backplane/tests.rs` and in the desk of the bridge.

mod killed;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::client::{Client, TEXT};
use crate::common::{Scratch, Server, free_port, get, scratch, until};

/// Makes a test of each function for each broker.
macro_rules! on_both_brokers {
    ($($name:ident),* $(,)?) => {
        mod nats { $(#[test] fn $name() { super::$name(super::Kind::Nats); })* }
        mod redis { $(#[test] fn $name() { super::$name(super::Kind::Redis); })* }
    };
}
use on_both_brokers;

on_both_brokers!(
    messages_of_a_pubsub_cross_both_ways_and_once,
    broadcasts_cross_by_path_and_ticks_do_not,
    only_topics_with_subscribers_are_fetched,
    a_broker_is_talked_to_over_tls,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nats,
    Redis,
}

/// A broker of its own for a test.
struct Broker {
    kind: Kind,
    port: u16,
    is_tls: bool,
    folder: Scratch,
    child: Child,
}

impl Broker {
    fn start(kind: Kind) -> Self {
        Self::start_with(kind, false)
    }

    fn start_with(kind: Kind, is_tls: bool) -> Self {
        let port = free_port();
        let folder = scratch("broker");
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("one");
        folder.write("cert.pem", &own.cert.pem());
        folder.write("key.pem", &own.signing_key.serialize_pem());
        let child = run(kind, (port, is_tls), &folder);
        Self {
            kind,
            port,
            is_tls,
            folder,
            child,
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    fn restart(&mut self) {
        self.child = run(self.kind, (self.port, self.is_tls), &self.folder);
    }

    fn url(&self) -> String {
        let scheme = match (self.kind, self.is_tls) {
            (Kind::Nats, false) => "nats",
            (Kind::Nats, true) => "tls",
            (Kind::Redis, false) => "redis",
            (Kind::Redis, true) => "rediss",
        };
        format!("{scheme}://user:secret@127.0.0.1:{}", self.port)
    }

    /// A server with two workers at this broker, which has connected.
    fn server(&self, app: &str) -> Server {
        let backplane = format!("--backplane={}", self.url());
        let more = [&*backplane, "--backplane-prefix=test"];
        let server = Server::start_app_with(app, "--io=auto", &more, |command| {
            command.env("SSL_CERT_FILE", self.folder.path("cert.pem"));
        });
        until("it has connected", || count(&server, "connected") == 1);
        server
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(kind: Kind, (port, is_tls): (u16, bool), folder: &Scratch) -> Child {
    let port_text = port.to_string();
    let [cert, key, folder] = ["cert.pem", "key.pem", ""].map(|name| folder.path(name));
    let mut command = match kind {
        Kind::Nats => {
            let mut command = Command::new(program("nats-server"));
            command.args(["--addr", "127.0.0.1", "--port", &port_text]);
            command.args(["--user", "user", "--pass", "secret"]);
            if is_tls {
                command.args(["--tls", "--tlscert", &cert, "--tlskey", &key]);
            }
            command
        }
        Kind::Redis => {
            let mut command = Command::new(program("redis-server"));
            command.args(["--bind", "127.0.0.1", "--save", "", "--dir", &folder]);
            command.args(["--user", "user", "on", ">secret", "&*", "+hello"]);
            command.args("+client +ping +publish +subscribe +psubscribe +unsubscribe".split(' '));
            command.arg("+punsubscribe");
            if is_tls {
                command.args(["--port", "0", "--tls-port", &port_text]);
                command.args(["--tls-cert-file", &cert, "--tls-key-file", &key]);
                command.args(["--tls-auth-clients", "no"]);
            } else {
                command.args(["--port", &port_text]);
            }
            command
        }
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program that was found");
    until("the broker listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    child
}

/// Where a broker's program is; Debian keeps one of them out of the path of users.
fn program(name: &str) -> String {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let paths = std::env::var("PATH").unwrap_or_default();
    let mut all = paths.split(':').chain(places);
    let found = all.find(|place| std::path::Path::new(place).join(name).exists());
    let place = found.unwrap_or_else(|| {
        panic!("there is no {name} here, which this test talks with: apt-get install {name}")
    });
    format!("{place}/{name}")
}

/// A counter of the bridge.
fn count(server: &Server, name: &str) -> u64 {
    let stats = server.stats();
    let figure = stats["backplane"]["total"][name].as_u64();
    figure.unwrap_or_default()
}

fn sum(server: &Server, names: &[&str]) -> u64 {
    let stats = server.stats();
    let total = &stats["backplane"]["total"];
    names
        .iter()
        .map(|name| total[name].as_u64().expect("a count"))
        .sum()
}

/// Messages for the broker, whatever became of them.
const OUTGOING: [&str; 4] = [
    "published",
    "dropped_away",
    "dropped_full",
    "dropped_too_big",
];

fn tell(client: &mut Client, request: &Value) {
    client.send(TEXT, request.to_string().as_bytes());
}

fn hear(client: &mut Client) -> Value {
    let frame = client.recv();
    assert_eq!(frame.first, TEXT);
    serde_json::from_slice(&frame.payload).expect("JSON")
}

/// Subscribes, and waits for the acknowledgement.
fn subscribe(client: &mut Client, topic: &str) {
    let request = json!({"op": "subscribe", "id": 1, "topic": topic});
    tell(client, &request);
    while hear(client)["op"] != "ack" {}
}

fn publish(client: &mut Client, topic: &str, data: &Value) {
    tell(
        client,
        &json!({"op": "publish", "topic": topic, "data": data}),
    );
}

/// Publishes at one server until the other one has got something, so that its subscription is known to be at the broker.
fn meet(from: &mut Client, to: &Server, topic: &str) {
    let before = count(to, "received");
    until("a message has crossed", || {
        publish(from, topic, &json!("hello"));
        count(to, "received") > before
    });
    publish(from, topic, &json!("begin"));
}

/// Hears a client until the `begin` of [`meet`], and says how many messages that were.
fn begin(client: &mut Client) -> u64 {
    hear_until(client, "begin")
}

fn hear_until(client: &mut Client, data: &str) -> u64 {
    let mut messages = 0;
    loop {
        let event = hear(client);
        messages += u64::from(event["op"] == "message");
        if event["data"] == data {
            return messages;
        }
    }
}

/// Waits until the bridge has counted so many messages that came to this server's clients. Returns how many came that nobody wanted.
fn unwanted_when(server: &Server, received: u64) -> u64 {
    let mut unwanted = None;
    until("what came is counted", || {
        let stats = server.stats();
        let total = &stats["backplane"]["total"];
        assert!(total["received"].as_u64() <= Some(received), "{stats}");
        unwanted = total["unwanted"].as_u64();
        total["received"] == received
    });
    unwanted.expect("a count")
}

fn messages_of_a_pubsub_cross_both_ways_and_once(kind: Kind) {
    const EACH: u64 = 50;
    let broker = Broker::start(kind);
    let servers = [broker.server("pubsub"), broker.server("pubsub")];
    let mut clients = servers
        .each_ref()
        .map(|server| server.clients_on_both_workers(2));
    for client in clients.iter_mut().flatten() {
        // All three match, and at the broker the patterns overlap.
        for topic in ["prices/eur", "prices/+", "#"] {
            subscribe(client, topic);
        }
    }
    let [at_a, at_b] = &mut clients;
    for (from, to, hearers) in [(0, 1, &mut *at_b), (1, 0, &mut *at_a)] {
        let mut speaker = Client::connect(&servers[from].address());
        meet(&mut speaker, &servers[to], "prices/eur");
        for client in &mut *hearers {
            begin(client);
        }
    }
    // What each has heard of its own server's speaker.
    for (server, hearers) in [(0, &mut *at_a), (1, &mut *at_b)] {
        let mut speaker = Client::connect(&servers[server].address());
        publish(&mut speaker, "prices/eur", &json!("own"));
        for client in hearers {
            while hear(client)["data"] != "own" {}
        }
    }
    for client in clients.iter_mut().flatten() {
        while hear(client)["data"] != "own" {}
    }
    for number in 0..EACH {
        for (server, clients) in clients.iter_mut().enumerate() {
            let data = json!([server, number]);
            publish(&mut clients[0], "prices/eur", &data);
        }
    }
    for client in clients.iter_mut().flatten() {
        let mut next = [0, 0];
        for _ in 0..2 * EACH {
            let message = hear(client);
            assert_eq!(message["op"], "message", "{message}");
            let [from, number] = [0, 1].map(|at| message["data"][at].as_u64().expect("a number"));
            let from = usize::from(from == 1);
            assert_eq!(number, next[from], "of server {from}");
            next[from] += 1;
        }
        assert_eq!(next, [EACH; 2]);
    }
    // The answer to this comes behind all messages.
    for client in clients.iter_mut().flatten() {
        tell(client, &json!({"op": "presence", "id": 2, "topic": "x"}));
        assert_eq!(hear(client)["op"], "presence", "nothing came twice");
    }
    for (server, other) in [(0, 1), (1, 0)] {
        // Each message went out once, at its own server: nothing that came from the broker went back.
        let [server, other] = [server, other].map(|at| &servers[at]);
        let published = || server.counter("published").iter().sum::<u64>();
        until("all is counted", || {
            let all = published();
            count(server, "published") == all && count(other, "received") == all
        });
        for reason in ["gaps", "invalid", "dropped_away", "reconnects"] {
            assert_eq!(count(server, reason), 0, "{reason}");
        }
    }
}

fn broadcasts_cross_by_path_and_ticks_do_not(kind: Kind) {
    let broker = Broker::start(kind);
    let url = format!("--backplane={}", broker.url());
    let service = "--service=/live/*=broadcast,/chat=pubsub,/talk=pubsub";
    let arguments = [
        service,
        "--workers=2",
        "--port=auto",
        "--interval=50ms",
        "--tick=10ms",
        &url,
        "--backplane-prefix=test",
    ];
    let servers = [Server::start(&arguments), Server::start(&arguments)];
    let at = |server: &Server, path: &str| Client::connect_to(&server.address(), path);
    let [mut here, mut there, mut elsewhere] = [(0, "a"), (1, "a"), (1, "b")]
        .map(|(server, path)| at(&servers[server], &format!("/live/{path}")));
    // Clients of all get their own server's ticks.
    let said = |client: &mut Client| loop {
        let frame = client.recv();
        if !frame.payload.starts_with(b"tick") {
            return frame;
        }
    };
    until("a message has crossed", || {
        here.send(TEXT, b"hello");
        count(&servers[1], "received") > 0
    });
    here.send(0x82, b"\xff\0");
    let mut heard = said(&mut there);
    while heard.payload == b"hello" {
        heard = said(&mut there);
    }
    assert_eq!((heard.first, &*heard.payload), (0x82, &b"\xff\0"[..]));
    elsewhere.send(TEXT, b"mine");
    assert_eq!(said(&mut elsewhere).payload, b"mine", "of its path alone");
    there.send(TEXT, b"back");
    let mut heard = said(&mut here);
    while heard.payload != b"back" {
        heard = said(&mut here);
    }
    // Services have topics of their own.
    let (mut chat, mut talk) = (at(&servers[0], "/chat"), at(&servers[0], "/talk"));
    subscribe(&mut chat, "t");
    subscribe(&mut talk, "t");
    let (mut to_chat, mut to_talk) = (at(&servers[1], "/chat"), at(&servers[1], "/talk"));
    for (speaker, hearer) in [(&mut to_chat, &mut chat), (&mut to_talk, &mut talk)] {
        meet(speaker, &servers[0], "t");
        begin(hearer);
    }
    publish(&mut to_chat, "t", &json!("for the chat"));
    publish(&mut to_talk, "t", &json!("for the talk"));
    assert_eq!(hear(&mut chat)["data"], "for the chat");
    assert_eq!(hear(&mut talk)["data"], "for the talk");
    // A tick is published 100 times a second, by both.
    let ticks = |client: &mut Client| {
        loop {
            let frame = client.recv();
            if let Some(number) = frame.payload.strip_prefix(b"tick ") {
                break str::from_utf8(number)
                    .expect("text")
                    .parse::<u64>()
                    .expect("a number");
            }
        }
    };
    for client in [&mut here, &mut there] {
        let mut last = ticks(client);
        for _ in 0..20 {
            let next = ticks(client);
            assert!(next > last, "each server's ticks go up");
            last = next;
        }
    }
    // A password is on no page.
    let page = get(&servers[0].web(), "/stats.json");
    assert!(
        page.contains("127.0.0.1") && !page.contains("secret"),
        "{page}"
    );
    let metrics = get(&servers[0].web(), "/metrics");
    assert!(
        metrics.contains("ringway_backplane_connected 1"),
        "{metrics}"
    );
}

fn only_topics_with_subscribers_are_fetched(kind: Kind) {
    let broker = Broker::start(kind);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let mut speaker = Client::connect(&here.address());
    let mut hearer = Client::connect(&there.address());
    // Names that brokers would read as patterns.
    let odd = ["a.b/c", "a*", "a b/>", "[x]/$y", "é/~"];
    subscribe(&mut hearer, "wanted/a");
    odd.iter().for_each(|topic| subscribe(&mut hearer, topic));
    meet(&mut speaker, &there, "wanted/a");
    let mut received = begin(&mut hearer);
    for topic in odd {
        meet(&mut speaker, &there, topic);
        received += begin(&mut hearer);
    }
    let others = [
        "wanted",
        "wanted/b",
        "wanted/a/b",
        "ab",
        "a.b",
        "a/b/c",
        "axb",
        "x/y",
    ];
    for topic in others {
        publish(&mut speaker, topic, &json!(topic));
    }
    for topic in odd {
        publish(&mut speaker, topic, &json!(topic));
        assert_eq!(hear(&mut hearer)["topic"], topic);
        received += 1;
    }
    assert_eq!(unwanted_when(&there, received), 0);
    // A pattern fetches what it matches. Redis fetches more, of which nothing is handed on.
    subscribe(&mut hearer, "deep/+/x");
    meet(&mut speaker, &there, "deep/1/x");
    received += begin(&mut hearer);
    publish(&mut speaker, "deep/1/2/x", &json!("not wanted"));
    publish(&mut speaker, "deep/2/x", &json!("wanted"));
    received += 1;
    assert_eq!(hear(&mut hearer)["data"], "wanted");
    let more = unwanted_when(&there, received);
    assert_eq!(more, u64::from(kind == Kind::Redis));
    // The last subscriber ends it.
    tell(
        &mut hearer,
        &json!({"op": "unsubscribe", "id": 2, "topic": "wanted/a"}),
    );
    while hear(&mut hearer)["op"] != "ack" {}
    is_given_up(
        &there,
        (&mut speaker, "wanted/a"),
        (&mut hearer, "deep/2/x"),
        received,
    );
}

/// Waits until messages of a topic come no more: those of another one, which come behind them, are counted without them.
fn is_given_up(
    there: &Server,
    (speaker, topic): (&mut Client, &str),
    (hearer, wanted): (&mut Client, &str),
    mut received: u64,
) {
    let mut before = unwanted_when(there, received);
    until("it is given up", || {
        publish(speaker, topic, &json!("late"));
        publish(speaker, wanted, &json!("behind it"));
        received += hear_until(hearer, "behind it");
        let unwanted = unwanted_when(there, received);
        std::mem::replace(&mut before, unwanted) == unwanted
    });
}

fn a_broker_is_talked_to_over_tls(kind: Kind) {
    let broker = Broker::start_with(kind, true);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let mut speaker = Client::connect(&here.address());
    let mut hearer = Client::connect(&there.address());
    subscribe(&mut hearer, "t");
    meet(&mut speaker, &there, "t");
    begin(&mut hearer);
}

#[test]
fn a_backplane_that_cannot_be_had_is_refused() {
    for (arguments, why) in [
        (&["--backplane=nats://127.0.0.1"][..], "carries topics"),
        (
            &["--app=pubsub", "--backplane=http://127.0.0.1"],
            "cannot be used",
        ),
        (
            &["--app=pubsub", "--backplane-prefix=x"],
            "no effect without --backplane",
        ),
        (
            &[
                "--app=pubsub",
                "--backplane=nats://a",
                "--backplane-prefix=a.b",
            ],
            "'a.b'",
        ),
    ] {
        let output = crate::common::run("server", arguments);
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
}

#[test]
fn servers_with_another_prefix_hear_nothing() {
    let broker = Broker::start(Kind::Nats);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let url = format!("--backplane={}", broker.url());
    let strange = Server::start_app("pubsub", "--io=auto", &[&url, "--backplane-prefix=other"]);
    let mut hearers = [&strange, &there].map(|server| Client::connect(&server.address()));
    for client in &mut hearers {
        subscribe(client, "t");
    }
    until("it has connected", || count(&strange, "connected") == 1);
    let mut speaker = Client::connect(&here.address());
    meet(&mut speaker, &there, "t");
    begin(&mut hearers[1]);
    publish(&mut hearers[0], "t", &json!("its own"));
    assert_eq!(hear(&mut hearers[0])["data"], "its own");
    let came = ["received", "unwanted", "repeated", "invalid"];
    assert_eq!(sum(&strange, &came), 0);
}

#[test]
fn a_server_whose_broker_is_not_there_serves_its_own_clients() {
    let port = free_port();
    let url = format!("--backplane=nats://127.0.0.1:{port}");
    let server = Server::start_app("pubsub", "--io=auto", &[&url]);
    let mut client = Client::connect(&server.address());
    subscribe(&mut client, "t");
    for number in 0..10 {
        publish(&mut client, "t", &json!(number));
        assert_eq!(hear(&mut client)["data"], number);
    }
    until("they are counted", || count(&server, "dropped_away") == 10);
    until("it was told", || server.stderr().contains("is away"));
}
