//! Streams in every direction as real processes: targets under TLS, and raw connections that reach a WebSocket server.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::client::{BINARY, CLOSE, Client, Frame, frame, noise};
use crate::common::{Server, on_both_tiers, run, scratch, until};
use crate::gateway::{echo, receive, target};
use crate::tls;

on_both_tiers!(
    a_stream_to_a_target_under_tls_is_exact_and_its_tail_arrives,
    a_target_with_the_wrong_certificate_is_told_with_1011_and_gets_nothing,
    openssl_is_a_target_under_tls,
);

/// A target under TLS that has the certificate in these files, and hands each connection to `serve`.
fn tls_target(
    (cert, key): &(String, String),
    serve: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + Clone + 'static,
) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).expect("PEM")],
            PrivateKeyDer::from_pem_file(key).expect("PEM"),
        )
        .expect("a certificate with its key");
    let config = Arc::new(config);
    target(move |stream| {
        let session = ServerConnection::new(config.clone()).expect("a session");
        serve(StreamOwned::new(session, stream));
    })
    .address
    .replace("127.0.0.1", "localhost")
}

fn a_stream_to_a_target_under_tls_is_exact_and_its_tail_arrives(io: &str) {
    let folder = scratch("forward-tls");
    let pair = tls::certificate(&folder, "localhost");
    // Sends back what comes, then 3 MB more behind the client's end.
    let tail = noise(9, 3_000_000);
    let sent = tail.clone();
    let address = tls_target(&pair, move |mut stream| {
        let mut piece = vec![0; 100_000];
        let mut got = 0;
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..len]).expect("it is read");
            got += len;
            if got == 500_009 {
                break;
            }
        }
        let _ = stream.write_all(&sent);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let ca = format!("--ssl-target-ca={}", pair.0);
    let more = [io, "--workers=1", "--ssl-target", &ca];
    let server = Server::start_gateway(&address, &more);
    let mut client = Client::connect(&server.address());
    let up = noise(8, 500_009);
    let mut writes = client.stream().try_clone().expect("a descriptor");
    let sent = up.clone();
    let writer = thread::spawn(move || {
        for piece in sent.chunks(33_333) {
            writes.write_all(&frame(BINARY, piece)).expect("it is read");
        }
    });
    assert!(receive(&mut client, up.len() + tail.len()) == [up, tail].concat());
    client.expect(CLOSE, &[0x03, 0xe8]);
    client.send(CLOSE, &[0x03, 0xe8]);
    writer.join().expect("written");
    assert_eq!(server.counter_reaching("streams_opened", 1), [1]);
    assert_eq!(server.counter("drops"), [0]);
}

fn a_target_with_the_wrong_certificate_is_told_with_1011_and_gets_nothing(io: &str) {
    let folder = scratch("forward-tls-wrong");
    let other = tls::certificate(&folder, "other.example");
    let stranger = tls::certificate(&folder, "localhost");
    let address = tls_target(&other, |mut stream| {
        let mut piece = [0; 1000];
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..len]).expect("it is read");
        }
    });
    let plain = target(echo).address;
    let trusted = format!("--ssl-target-ca={}", other.0);
    let untrusted = format!("--ssl-target-ca={}", stranger.0);
    for (target, more, why) in [
        (&address, &[trusted.as_str()][..], "it is for another name"),
        (
            &address,
            &[&untrusted, "--ssl-target-name=other.example"],
            "nobody who is trusted",
        ),
        (&plain, &["--ssl-target-insecure"], "TLS with the target"),
        (&address, &[&trusted, "--ssl-target-name=other.example"], ""),
        (&address, &["--ssl-target-insecure"], ""),
    ] {
        let all = [&[io, "--workers=1", "--ssl-target"], more].concat();
        let server = Server::start_gateway(target, &all);
        let mut client = Client::connect(&server.address());
        client.send(BINARY, b"hello");
        let Frame { first, payload } = client.recv();
        if why.is_empty() {
            assert_eq!((first, &payload[..]), (BINARY, &b"hello"[..]), "{more:?}");
            continue;
        }
        assert_eq!((first, &payload[..2]), (CLOSE, &1011_u16.to_be_bytes()[..]));
        let reason = std::str::from_utf8(&payload[2..]).expect("text");
        assert!(reason.contains(why), "{more:?}: {reason}");
        client.send(CLOSE, &payload[..2]);
        assert_eq!(server.counter_reaching("streams_failed", 1), [1]);
    }
}

fn openssl_is_a_target_under_tls(io: &str) {
    let folder = scratch("forward-openssl");
    let (cert, key) = tls::certificate(&folder, "localhost");
    for version in ["-tls1_2", "-tls1_3"] {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut openssl = Command::new("openssl")
            .args(["s_server", "-accept", &address, "-rev", "-quiet", version])
            .args(["-cert", &cert, "-key", &key])
            .stdin(Stdio::null())
            .spawn()
            .expect("openssl runs");
        until("openssl listens", || TcpStream::connect(&address).is_ok());
        let ca = format!("--ssl-target-ca={cert}");
        let more = [io, "--workers=1", "--ssl-target", &ca];
        let server = Server::start_gateway(&address.replace("127.0.0.1", "localhost"), &more);
        let mut client = Client::connect(&server.address());
        client.send(BINARY, b"reversed\n");
        assert_eq!(receive(&mut client, 9), b"desrever\n");
        client.close();
        openssl.kill().expect("it runs");
        openssl.wait().expect("it ends");
    }
}

#[test]
fn options_for_tls_to_the_target_are_refused_where_they_have_no_effect() {
    for (arguments, sentence) in [
        (
            &["--ssl-target-ca=ca.pem"][..],
            "--ssl-target-ca has no effect without --ssl-target",
        ),
        (
            &["--ssl-target-insecure"],
            "--ssl-target-insecure has no effect",
        ),
        (&["--ssl-target-name=a"], "--ssl-target-name has no effect"),
        (
            &["--ssl-target", "--ssl-target-name=a b"],
            "is no name that a certificate could have",
        ),
        (
            &["--ssl-target", "--ssl-target-ca=/none.pem"],
            "--ssl-target-ca /none.pem: No such file",
        ),
    ] {
        let all = [&["gateway", "127.0.0.1:0", "127.0.0.1:1"], arguments].concat();
        let output = run("ringway", &all);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
}
