//! `--app=pubsub` with real workers: what two clients on different workers see of each other. The rules have their tests in
//! `src/bus/station/tests`.

use serde_json::{Value, json};

use crate::common::client::{Client, TEXT};
use crate::common::{Server, kill, on_both_tiers, until};

on_both_tiers!(
    subscribers_on_all_workers_see_one_order,
    presence_counts_all_workers_and_patterns_match,
    a_subscriber_that_comes_back_gets_what_it_missed,
    a_new_worker_serves_topics_again,
);

const BINARY: u8 = 0x82;

fn pubsub(io: &str, more: &[&str]) -> Server {
    Server::start_app("pubsub", io, more)
}

fn clients(server: &Server) -> Vec<Client> {
    server.clients_on_both_workers(3)
}

fn tell(client: &mut Client, request: &Value) {
    client.send(TEXT, request.to_string().as_bytes());
}

fn hear(client: &mut Client) -> Value {
    let frame = client.recv();
    assert_eq!(frame.first, TEXT);
    serde_json::from_slice(&frame.payload).expect("JSON")
}

fn ask(client: &mut Client, request: &Value) -> Value {
    tell(client, request);
    hear(client)
}

fn subscribers_on_all_workers_see_one_order(io: &str) {
    const EACH: u64 = 20;
    let server = pubsub(io, &[]);
    let mut clients = clients(&server);
    for client in &mut clients {
        let answer = ask(
            client,
            &json!({"op": "subscribe", "id": 1, "topic": "prices/eur"}),
        );
        assert_eq!((&answer["op"], &answer["id"]), (&json!("ack"), &json!(1)));
    }
    let senders = clients.len() as u64;
    for number in 0..EACH {
        for (sender, client) in clients.iter_mut().enumerate() {
            let data = json!([sender, number]);
            tell(
                client,
                &json!({"op": "publish", "topic": "prices/eur", "data": data}),
            );
        }
    }
    let mut seen = Vec::new();
    for client in &mut clients {
        let messages: Vec<_> = (0..senders * EACH).map(|_| hear(client)).collect();
        for (at, message) in messages.iter().enumerate() {
            assert_eq!(message["op"], "message");
            assert_eq!(message["offset"], at as u64 + 1);
        }
        let data: Vec<Value> = messages
            .into_iter()
            .map(|message| message["data"].clone())
            .collect();
        let order = || seen.first().is_none_or(|first| *first == data);
        assert!(order(), "all see the same order");
        seen.push(data);
    }
    for sender in 0..senders {
        let own = seen[0]
            .iter()
            .filter(|data| data[0] == sender)
            .map(|data| data[1].as_u64());
        assert!(own.eq((0..EACH).map(Some)), "of sender {sender}");
    }
    let all = senders * senders * EACH;
    assert_eq!(
        server
            .counter_reaching("deliveries", all)
            .iter()
            .sum::<u64>(),
        all
    );
}

fn presence_counts_all_workers_and_patterns_match(io: &str) {
    let server = pubsub(io, &[]);
    let mut clients = clients(&server);
    for client in &mut clients[1..] {
        ask(
            client,
            &json!({"op": "subscribe", "id": 1, "topic": "room/+/said"}),
        );
        ask(
            client,
            &json!({"op": "subscribe", "id": 2, "topic": "room/a/said"}),
        );
    }
    let others = clients.len() - 1;
    let asked = json!({"op": "presence", "id": 3, "topic": "room/a/said"});
    let answer = ask(&mut clients[0], &asked);
    assert_eq!(
        answer,
        json!({"op": "presence", "id": 3, "topic": "room/a/said", "subscribers": others})
    );
    // Binary in, JSON out: bytes as base64. Once to each, though two of its subscriptions match.
    let topic = b"room/a/said";
    let publish = [&[3, 0, 0, 0, 0, 9, 11], &topic[..], &[0, 0xff, 0xfe]].concat();
    clients[0].send(BINARY, &publish);
    let ack = clients[0].recv();
    assert_eq!(
        (ack.first, &ack.payload[..6]),
        (BINARY, &[129, 1, 0, 0, 0, 9][..])
    );
    for client in &mut clients[1..] {
        let message = hear(client);
        assert_eq!(
            (&message["op"], &message["base64"]),
            (&json!("message"), &json!("//4="))
        );
        let answer = ask(
            client,
            &json!({"op": "unsubscribe", "id": 4, "topic": "nothing"}),
        );
        assert_eq!(answer["code"], "not_subscribed");
    }
    let broken = ask(
        &mut clients[0],
        &json!({"op": "publish", "id": 5, "topic": "a/#", "data": 1}),
    );
    assert_eq!(broken["code"], "bad_topic");
}

fn a_subscriber_that_comes_back_gets_what_it_missed(io: &str) {
    let server = pubsub(io, &["--history-messages=3"]);
    let mut clients = clients(&server);
    let publish = |client: &mut Client, number: u64| {
        let request = json!({"op": "publish", "id": number, "topic": "log", "data": number});
        let ack = ask(client, &request);
        assert_eq!(
            (&ack["op"], &ack["offset"]),
            (&json!("ack"), &json!(number))
        );
        ack["epoch"].as_str().expect("a string").to_owned()
    };
    let epoch = publish(&mut clients[0], 1);
    (2..=3).for_each(|number| assert_eq!(publish(&mut clients[0], number), epoch));
    let since = |client: &mut Client, offset: u64| {
        let since = json!({"epoch": epoch, "offset": offset});
        let request = json!({"op": "subscribe", "id": 7, "topic": "log", "since": since});
        assert_eq!(ask(client, &request)["op"], "ack");
    };
    let (first, rest) = clients.split_first_mut().expect("some");
    for client in rest.iter_mut() {
        since(client, 1);
        for number in 2..=3 {
            assert_eq!(hear(client)["data"], number);
        }
    }
    // Beyond what is kept there is a gap with a number.
    (4..=5).for_each(|number| drop(publish(first, number)));
    for client in rest.iter_mut() {
        for number in 4..=5 {
            assert_eq!(hear(client)["offset"], number);
        }
    }
    since(first, 1);
    assert_eq!(
        hear(first),
        json!({"op": "gap", "topic": "log", "messages": 1})
    );
    for number in 3..=5 {
        assert_eq!(hear(first)["data"], number);
    }
    // What is retained comes to everybody who subscribes later.
    tell(
        first,
        &json!({"op": "publish", "topic": "state", "data": "up", "retain": true}),
    );
    let mut late = Client::connect(&server.address());
    until("the message is retained", || {
        ask(
            &mut late,
            &json!({"op": "subscribe", "id": 8, "topic": "state"}),
        );
        let answer = ask(
            &mut late,
            &json!({"op": "presence", "id": 9, "topic": "state"}),
        );
        answer["data"] == "up"
    });
}

#[test]
fn a_history_forgets_what_is_old() {
    let server = pubsub("--io=auto", &["--history-time=50ms"]);
    let mut client = Client::connect(&server.address());
    let ack = ask(
        &mut client,
        &json!({"op": "publish", "id": 1, "topic": "log", "data": 1}),
    );
    let since = json!({"epoch": ack["epoch"], "offset": 0});
    until("it is forgotten", || {
        let subscribe = json!({"op": "subscribe", "id": 2, "topic": "log", "since": since});
        assert_eq!(ask(&mut client, &subscribe)["op"], "ack");
        let told = hear(&mut client);
        ask(
            &mut client,
            &json!({"op": "unsubscribe", "id": 3, "topic": "log"}),
        );
        told["op"] == "gap"
    });
}

#[test]
fn a_history_has_so_many_bytes() {
    let server = pubsub("--io=auto", &["--history-bytes=100KiB"]);
    let mut client = Client::connect(&server.address());
    let publish = json!({"op": "publish", "id": 1, "topic": "log", "data": "x".repeat(40_000)});
    let acks = [(); 3].map(|()| ask(&mut client, &publish));
    let since = json!({"epoch": acks[0]["epoch"], "offset": 0});
    let subscribe = json!({"op": "subscribe", "id": 2, "topic": "log", "since": since});
    assert_eq!(ask(&mut client, &subscribe)["op"], "ack");
    let gap = json!({"op": "gap", "topic": "log", "messages": 1});
    assert_eq!(hear(&mut client), gap);
    assert_eq!(
        [(); 2].map(|()| hear(&mut client)["offset"].as_u64()),
        [Some(2), Some(3)]
    );
}

#[test]
fn rights_are_options() {
    let server = pubsub(
        "--io=auto",
        &["--may-publish=chat/+", "--may-subscribe=chat/#,news"],
    );
    let mut client = Client::connect(&server.address());
    let mut code = |request: Value| ask(&mut client, &request)["code"].clone();
    assert_eq!(
        code(json!({"op": "publish", "id": 1, "topic": "news", "data": 1})),
        "not_allowed"
    );
    assert_eq!(
        code(json!({"op": "publish", "id": 2, "topic": "chat/a", "data": 1})),
        Value::Null
    );
    assert_eq!(
        code(json!({"op": "subscribe", "id": 3, "topic": "news"})),
        Value::Null
    );
    assert_eq!(
        code(json!({"op": "subscribe", "id": 4, "topic": "#"})),
        "not_allowed"
    );
}

fn a_new_worker_serves_topics_again(io: &str) {
    let server = pubsub(io, &[]);
    let before = clients(&server);
    let victim = server.seats()[0];
    kill(victim);
    server.wait_for_successor(0, victim);
    drop(before);
    let mut clients = clients(&server);
    let topics: Vec<String> = (0..10).map(|number| format!("t/{number}")).collect();
    for client in &mut clients {
        ask(client, &json!({"op": "subscribe", "id": 1, "topic": "t/+"}));
    }
    // Some of the topics belong to the worker that was replaced.
    for topic in &topics {
        tell(
            &mut clients[0],
            &json!({"op": "publish", "topic": topic, "data": topic}),
        );
    }
    for client in &mut clients {
        let mut heard: Vec<String> = Vec::new();
        while heard.len() < topics.len() {
            let event = hear(client);
            if event["op"] == "message" {
                heard.push(event["data"].as_str().expect("text").to_owned());
            }
        }
        heard.sort();
        assert_eq!(heard, topics);
    }
}
