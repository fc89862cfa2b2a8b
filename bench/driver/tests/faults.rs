//! The driver against right and faulty servers: a lost, doubled, changed or invented message must fail the run. The
//! servers here share no code with the driver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use echo_driver::options::{Mode, Options, Payload, Wait};
use echo_driver::report::Report;

/// The fault of a server, and the message of each connection that it affects.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    CorruptPayload(u64),
    CorruptPayloadFrom(u64),
    CorruptHeader(u64),
    Drop(u64),
    Double(u64),
    CloseBefore(u64),
    FallSilentAfter(u64),
    ExtraByte(u64),
    WrongAccept,
    Refuse,
    /// The payload comes back as it was sent, still masked.
    ForgetUnmasking,
}

fn serve(mode: Mode, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The driver resets its connections at the end. The error ends this thread, and means nothing.
            thread::spawn(move || match mode {
                Mode::Ws => serve_ws(stream, fault),
                Mode::Tcp => serve_tcp(stream, fault),
            });
        }
    });
    address
}

fn serve_tcp(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut reads = 0;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        if fault == Fault::CorruptPayload(reads) {
            buffer[n - 1] ^= 0x40;
        }
        stream.write_all(&buffer[..n])?;
        reads += 1;
    }
}

fn serve_ws(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(String::from_utf8(head).unwrap().contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
    let (status, accept) = match fault {
        Fault::Refuse => ("426 Upgrade Required", ""),
        Fault::WrongAccept => ("101 Switching Protocols", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        _ => ("101 Switching Protocols", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    for number in 0.. {
        if fault == Fault::CloseBefore(number) {
            return Ok(());
        }
        let mut reply = read_message(&mut stream, fault)?;
        match fault {
            Fault::CorruptPayload(n) if n == number => *reply.last_mut().unwrap() ^= 1,
            Fault::CorruptPayloadFrom(n) if n <= number => *reply.last_mut().unwrap() ^= 1,
            Fault::CorruptHeader(n) if n == number => reply[1] ^= 1,
            Fault::Drop(n) if n == number => continue,
            Fault::Double(n) if n == number => stream.write_all(&reply)?,
            Fault::ExtraByte(n) if n == number => reply.push(0),
            Fault::FallSilentAfter(n) if n < number => continue,
            _ => {}
        }
        stream.write_all(&reply)?;
    }
    Ok(())
}

/// Reads one masked frame and returns its echo.
fn read_message(stream: &mut TcpStream, fault: Fault) -> std::io::Result<Vec<u8>> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    assert_eq!(header[1] & 0x80, 0x80, "a client masks");
    let mut reply = vec![header[0], header[1] & 0x7f];
    let len = match header[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes)?;
            reply.extend(bytes);
            usize::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes)?;
            reply.extend(bytes);
            u64::from_be_bytes(bytes) as usize
        }
        len => usize::from(len),
    };
    let mut key = [0; 4];
    stream.read_exact(&mut key)?;
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload)?;
    if fault != Fault::ForgetUnmasking {
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= key[i % 4]);
        if header[0] == 0x81 {
            assert!(std::str::from_utf8(&payload).is_ok(), "text is UTF-8");
        }
    }
    reply.extend(payload);
    Ok(reply)
}

fn options(address: SocketAddr) -> Options {
    let mut options = Options::new(address);
    options.duration = Duration::from_millis(200);
    options.warm_up = Duration::from_millis(50);
    options.stall = Duration::from_millis(600);
    options
}

fn run(mode: Mode, fault: Fault, change: impl FnOnce(&mut Options)) -> Report {
    let mut options = options(serve(mode, fault));
    options.mode = mode;
    change(&mut options);
    options.validate().unwrap();
    echo_driver::run(&options)
}

fn assert_right(report: &Report) {
    assert_eq!(report.error, None);
    assert!(report.messages > 0 && report.messages_whole_run >= report.messages);
    assert!(report.window >= Duration::from_millis(200));
}

fn assert_noticed(fault: Fault, words: &str) {
    for (connections, in_flight, size) in [(1, 1, 20), (7, 16, 20), (3, 4, 1024), (2, 2, 100_000)] {
        let report = run(Mode::Ws, fault, |o| (o.connections, o.in_flight, o.size) = (connections, in_flight, size));
        let error = report.error.unwrap_or_else(|| panic!("not noticed at {connections} × {in_flight} × {size}"));
        assert!(words.split('|').any(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn a_right_server_passes_at_every_size() {
    for size in [0, 20, 125, 126, 1024, 16384, 65535, 65536, 102_400, 1 << 20] {
        let report = run(Mode::Ws, Fault::None, |o| (o.size, o.connections) = (size, 2));
        assert_right(&report);
    }
}

#[test]
fn large_messages_in_flight_go_through_partial_writes() {
    let report = run(Mode::Ws, Fault::None, |o| (o.size, o.connections, o.in_flight) = (1 << 20, 2, 16));
    assert_right(&report);
    assert!(report.partial_sends > 0);
    let report = run(Mode::Tcp, Fault::None, |o| (o.size, o.connections, o.in_flight) = (1 << 20, 2, 16));
    assert_right(&report);
}

#[test]
fn small_messages_in_flight_wrap_round_the_request_ring() {
    for (size, in_flight) in [(20, 16), (20, 100), (1024, 16), (3000, 16), (5000, 13), (20, 1000)] {
        let report = run(Mode::Ws, Fault::None, |o| (o.size, o.connections, o.in_flight) = (size, 3, in_flight));
        assert_right(&report);
    }
}

#[test]
fn hundreds_of_connections_are_served_binary_and_bare() {
    let report = run(Mode::Ws, Fault::None, |o| (o.connections, o.payload) = (300, Payload::Binary));
    assert_right(&report);
    let report = run(Mode::Tcp, Fault::None, |o| (o.connections, o.in_flight) = (300, 16));
    assert_right(&report);
}

#[test]
fn a_spinning_driver_measures_and_notices_the_same() {
    let report = run(Mode::Ws, Fault::None, |o| (o.connections, o.in_flight, o.wait) = (20, 4, Wait::Spin));
    assert_right(&report);
    // Spinning is no work: it must not count as CPU time of the driver.
    assert!(report.driver_cpu < report.window);
    let report = run(Mode::Ws, Fault::Drop(3), |o| (o.connections, o.wait) = (3, Wait::Spin));
    assert_eq!(report.error.unwrap(), "3 replies never came");
}

#[test]
fn a_corrupted_byte_is_noticed() {
    assert_noticed(Fault::CorruptPayload(3), "expected 0x");
    assert_noticed(Fault::CorruptHeader(0), "expected 0x|never came|no reply");
    let report = run(Mode::Tcp, Fault::CorruptPayload(2), |o| o.connections = 3);
    assert!(report.error.unwrap().contains("expected 0x"));
}

#[test]
fn a_corrupted_header_is_noticed_long_after_the_payload_is_no_longer_compared() {
    let report = run(Mode::Ws, Fault::CorruptHeader(20), |o| (o.size, o.verify) = (100_000, 2));
    assert!(report.error.unwrap().contains("message 20, byte 1:"));
}

#[test]
fn a_corrupted_small_message_is_noticed_at_any_time() {
    let report = run(Mode::Ws, Fault::CorruptPayload(500), |o| o.verify = 1);
    assert!(report.error.unwrap().starts_with("connection 0: message 500, byte 21:"));
}

#[test]
fn a_lasting_corruption_is_noticed_in_the_sample() {
    for size in [5000, 16384, 100_000] {
        let report = run(Mode::Ws, Fault::CorruptPayloadFrom(100), |o| (o.size, o.in_flight, o.verify) = (size, 4, 2));
        assert!(report.error.unwrap().contains("expected 0x"));
    }
}

#[test]
fn a_dropped_message_is_noticed() {
    assert_noticed(Fault::Drop(3), "expected 0x|never came|no reply");
}

#[test]
fn a_dropped_message_of_one_variant_is_noticed_at_the_drain() {
    // All messages of 1 MiB are alike, so their content cannot show the gap. The count does.
    let report = run(Mode::Ws, Fault::Drop(5), |o| (o.size, o.in_flight) = (1 << 20, 4));
    assert!(report.error.unwrap().contains("never came"));
}

#[test]
fn a_doubled_message_and_an_extra_byte_are_noticed() {
    assert_noticed(Fault::Double(2), "expected 0x|not asked for");
    assert_noticed(Fault::ExtraByte(2), "expected 0x|not asked for");
}

#[test]
fn a_closed_connection_is_noticed() {
    assert_noticed(Fault::CloseBefore(5), "closed|reset|Broken pipe");
}

#[test]
fn a_server_that_falls_silent_is_noticed_in_bounded_time() {
    assert_noticed(Fault::FallSilentAfter(4), "no reply|never came");
}

#[test]
fn masked_bytes_in_the_reply_are_noticed() {
    assert_noticed(Fault::ForgetUnmasking, "expected 0x");
}

#[test]
fn a_bad_opening_handshake_is_noticed() {
    assert_noticed(Fault::WrongAccept, "Sec-WebSocket-Accept");
    assert_noticed(Fault::Refuse, "426");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(echo_driver::run(&options(address)).error.unwrap().contains("cannot connect"));
}

#[test]
fn cpu_of_the_server_process_is_counted_in_the_window() {
    // The server is a thread of this very process: server and driver read the same clock.
    let report = run(Mode::Ws, Fault::None, |o| o.pids.push(std::process::id() as i32));
    assert_right(&report);
    assert!(report.server_cpu >= report.driver_cpu / 2 && report.server_cpu > Duration::ZERO);
    assert!(report.to_json().contains("\"server_cpu_us_per_message\":"));
}
