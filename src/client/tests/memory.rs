//! What a connection costs while nothing happens.

use std::mem::size_of;

use allocation_counter::measure;
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use super::{Cut, Cuts, pair};
use crate::{Options, Role, Stream, WebSocket};

/// Bytes of an idle connection, its stream included, without the state of TLS.
const IDLE_BYTES_MAX: usize = 1024;

#[test]
fn an_idle_connection_holds_less_than_a_kibibyte() {
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime");
    let (mut client, mut server) = runtime.block_on(connected());
    let mut exchange = || {
        runtime.block_on(async {
            for length in [0, 10, 5000, 100_000] {
                let sending = client.send(vec![0; length]);
                let (sent, message) = tokio::join!(sending, server.recv());
                sent.expect("open");
                let message = message.expect("open").expect("open");
                let (sent, message) = tokio::join!(server.send(message), client.recv());
                sent.expect("open");
                message.expect("open").expect("open");
            }
            for end in [&mut client, &mut server] {
                assert!(Cuts::new(Cut::Every(1)).run(end.recv()).await.is_none());
            }
        });
    };
    exchange(); // what the runtime frees late is freed
    let held = measure(exchange);
    // Both ends together.
    assert_eq!(held.bytes_current, 0, "{held:?}");
    assert!(held.bytes_total > 100_000, "it was counted: {held:?}");
    let value = size_of::<WebSocket<Stream>>();
    println!(
        "{value} bytes, of which the stream has {}",
        size_of::<Stream>()
    );
    assert!(value <= IDLE_BYTES_MAX, "{value}");
}

#[test]
fn a_connection_whose_messages_were_taken_holds_no_buffer_until_it_is_polled_again() {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut pairs: Vec<_> = (0..50).map(|_| pair(2000, Options::default())).collect();
    let mut exchange = || {
        runtime.block_on(async {
            for (client, server) in &mut pairs {
                server.send("some text").await.expect("there is room");
                client.recv().await.expect("open").expect("open");
            }
        });
    };
    exchange(); // the streams in memory have their buffers
    let held = measure(exchange);
    assert_eq!(held.bytes_current, 0, "{held:?}");
}

#[test]
fn messages_of_a_size_are_read_whole_and_not_copied() {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (mut client, mut server) = pair(64 << 10, Options::default());
    for round in 0..20 {
        let sent = vec![7; 16 << 10];
        runtime.block_on(server.send(sent)).expect("there is room");
        let mut received = None;
        let held = measure(|| received = Some(runtime.block_on(client.recv())));
        let message = received.expect("measured").expect("open");
        assert_eq!(message.map(|message| message.len()), Some(16 << 10));
        // Once the read buffer has grown: one block, in which the message lies.
        if round > 4 {
            assert!(held.bytes_total < 33 << 10, "round {round}: {held:?}");
        }
    }
}

/// Two ends of a TCP connection.
async fn connected() -> (WebSocket<TcpStream>, WebSocket<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let end = |io, role| WebSocket::after_handshake(io, role, BytesMut::new(), Options::default());
    (
        end(near.expect("connected"), Role::Client),
        end(far.expect("connected").0, Role::Server),
    )
}

#[test]
fn a_ping_interval_costs_one_timer() {
    let mut options = Options::default();
    options.ping_interval = Some(std::time::Duration::from_secs(3600));
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    crate::block::give(crate::block::take()); // the thread has it, and not the connection
    let mut ends = None;
    let held = measure(|| {
        runtime.block_on(async {
            let (mut client, server) = pair(100, options);
            assert!(Cuts::new(Cut::Every(1)).run(client.recv()).await.is_none());
            ends = Some((client, server));
        });
    });
    // The pair's stream in memory is counted with it.
    let value = i64::try_from(size_of::<WebSocket<Stream>>()).expect("small");
    assert!(value + held.bytes_current < 2 * 1024, "{held:?}");
}
