//! Certificates and keys: files that change, session tickets, clients that show one, files that cannot be used.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use ringway::options::{ClientAuth, IoChoice, TlsOptions};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::common::client::{REQUEST, TEXT, frame};
use crate::common::{Scratch, Server, kill, on_both_tiers, run, scratch, until};
use crate::tls::{Tls, begin, certificate, expect, open, started, trusting, upgrade};

on_both_tiers!(
    a_certificate_that_changes_is_served_and_a_bad_one_is_not,
    a_server_on_threads_is_told_to_read_its_certificate_again,
    tickets_are_good_at_every_worker_and_outlive_it,
    a_client_shows_a_certificate_and_the_application_sees_its_name,
);

/// The exit code for options that cannot be used.
const USAGE: i32 = 2;

/// Makes a new certificate for `localhost`, in the files that a server was given. Returns a copy's path.
fn renew(folder: &Scratch, copy: &str) -> String {
    let (file, _) = certificate(folder, "localhost");
    folder.write(
        copy,
        &std::fs::read_to_string(file).expect("it was written"),
    )
}

/// Whether a server shows the certificate in a file to a client who asks for `localhost`.
fn shows(address: &str, file: &str) -> bool {
    let config = trusting(file, rustls::DEFAULT_VERSIONS).with_no_client_auth();
    let mut tls = begin(Arc::new(config), address, "localhost");
    tls.write_all(REQUEST.as_bytes()).is_ok()
}

/// Kills every worker, and waits for those that replace them.
fn replace_workers(server: &Server) {
    let before = server.workers();
    before.iter().copied().for_each(kill);
    until("others serve", || {
        let now = server.workers();
        now.len() == before.len() && now.iter().all(|pid| !before.contains(pid))
    });
}

fn a_certificate_that_changes_is_served_and_a_bad_one_is_not(tier: &str) {
    let folder = scratch("tls-renewed");
    let server = started(&folder, &["localhost"], &["--workers=2", tier]);
    let first = folder.path("localhost.pem");
    assert!(shows(&server.address(), &first));
    let mut open_before = open(&server, &folder, "localhost");
    // By signal.
    let second = renew(&folder, "second.pem");
    server.signal("HUP");
    until("the new one is served", || {
        shows(&server.address(), &second)
    });
    // By itself.
    let third = renew(&folder, "third.pem");
    until("the next one is served", || {
        shows(&server.address(), &third)
    });
    assert!(!shows(&server.address(), &second));
    open_before
        .write_all(&frame(TEXT, b"as before"))
        .expect("sent");
    expect(&mut open_before, TEXT, b"as before");
    // A bad one is not, by itself or by signal.
    folder.write("localhost.key", "no key");
    until("the bad key is told", || {
        let said = server.stderr();
        said.contains("it has no private key")
            && said.contains("the certificates that are served stay")
    });
    server.signal("HUP");
    until("it is told again", || {
        server.stderr().matches("it has no private key").count() > 1
    });
    // Nor by a worker that replaces another one.
    replace_workers(&server);
    assert!(shows(&server.address(), &third));
}

/// A server on threads, with the certificate of `localhost`.
fn on_threads(folder: &Scratch, tier: &str, set: impl FnOnce(&mut TlsOptions)) -> ringway::Running {
    let (cert, key) = certificate(folder, "localhost");
    let mut tls = TlsOptions {
        certificates: vec![cert.into()],
        keys: vec![key.into()],
        ..TlsOptions::default()
    };
    set(&mut tls);
    let io = match tier {
        "--io=epoll" => IoChoice::Epoll,
        _ => IoChoice::Uring,
    };
    let server = ringway::Server::new("ws://127.0.0.1:0").workers(1).io(io);
    server.tls(tls).start(|_| Names).expect("it starts")
}

fn a_server_on_threads_is_told_to_read_its_certificate_again(tier: &str) {
    let folder = scratch("tls-threads");
    let mut server = on_threads(&folder, tier, |_| {});
    let second = renew(&folder, "second.pem");
    assert!(!shows(server.url(), &second));
    server.renew_certificates().expect("good files");
    until("the new one is served", || shows(server.url(), &second));
    folder.write("localhost.key", "no key");
    let why = server.renew_certificates().expect_err("no key");
    assert!(why.sentence.contains("it has no private key"), "{why}");
    assert!(shows(server.url(), &second));
    server.shutdown().expect("it ends");
}

fn tickets_are_good_at_every_worker_and_outlive_it(tier: &str) {
    let folder = scratch("tls-tickets");
    let server = started(&folder, &["localhost"], &["--workers=2", tier]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = trusting(&folder.path("localhost.pem"), &[version]).with_no_client_auth();
        let config = Arc::new(config);
        let resumes = || -> (bool, Tls) {
            let mut tls = begin(config.clone(), &server.address(), "localhost");
            upgrade(&mut tls);
            tls.write_all(&frame(TEXT, b"ticket?")).expect("sent");
            expect(&mut tls, TEXT, b"ticket?");
            let kind = tls.conn.handshake_kind().expect("it is done");
            (kind == rustls::HandshakeKind::Resumed, tls)
        };
        assert!(!resumes().0, "the first is a full one");
        // Held open, so that both workers get some.
        let held: Vec<_> = (0..10).map(|_| resumes()).collect();
        assert!(held.iter().all(|(resumed, _)| *resumed));
        replace_workers(&server);
        assert!(resumes().0, "a new worker knows the ticket");
    }
}

/// Tells each client its name.
struct Names;

impl ringway::App for Names {
    type Session = ();

    fn connect(&mut self, opening: &mut ringway::Opening<'_>, (): &mut ()) -> ringway::Verdict {
        let name = opening.client_name().unwrap_or_else(|| "nobody".to_owned());
        ringway::Verdict::accept().header("X-Client", &name)
    }

    fn message(
        &mut self,
        context: &mut ringway::Context<'_>,
        (): &mut (),
        message: ringway::Message<'_>,
    ) {
        let _ = context.reply(message);
    }
}

/// A certificate for the common name `alice` with its key, and the file of the one that signed it.
pub(crate) fn alice(folder: &Scratch) -> (rcgen::Certificate, rcgen::KeyPair, String) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let issuer = rcgen::Issuer::new(ca.clone(), &ca_key);
    let ca_file = folder.write("ca.pem", &ca.self_signed(&ca_key).expect("signed").pem());
    let mut alice =
        rcgen::CertificateParams::new(vec!["alice.example".to_owned()]).expect("a name");
    alice.distinguished_name = rcgen::DistinguishedName::new();
    alice
        .distinguished_name
        .push(rcgen::DnType::CommonName, "alice");
    let key = rcgen::KeyPair::generate().expect("a key");
    let alice = alice.signed_by(&key, &issuer).expect("signed");
    (alice, key, ca_file)
}

fn a_client_shows_a_certificate_and_the_application_sees_its_name(tier: &str) {
    let folder = scratch("tls-client");
    let (alice, alice_key, ca_file) = alice(&folder);
    let alice = alice.der();
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = on_threads(&folder, tier, |tls| {
            (tls.client_ca, tls.client_auth) = (Some(ca_file.clone().into()), auth);
        });
        let head = |own: bool| -> std::io::Result<String> {
            let config = trusting(&folder.path("localhost.pem"), rustls::DEFAULT_VERSIONS);
            let key = PrivatePkcs8KeyDer::from(alice_key.serialize_der());
            let config = match own {
                false => config.with_no_client_auth(),
                true => config
                    .with_client_auth_cert(vec![alice.clone()], key.into())
                    .expect("a certificate"),
            };
            let mut tls = begin(Arc::new(config), server.url(), "localhost");
            tls.write_all(REQUEST.as_bytes())?;
            let mut head = [0; 400];
            let len = tls.read(&mut head)?;
            Ok(String::from_utf8_lossy(&head[..len]).into_owned())
        };
        let named = head(true).expect("an answer");
        assert!(named.contains("X-Client: CN=alice\r\n"), "{named}");
        match auth {
            ClientAuth::Required => assert!(head(false).is_err()),
            ClientAuth::Optional => {
                let nobody = head(false).expect("an answer");
                assert!(nobody.contains("X-Client: nobody\r\n"), "{nobody}");
            }
        }
        server.shutdown().expect("it ends");
    }
}

#[test]
fn files_that_cannot_be_used_are_told_before_a_worker_starts() {
    let folder = scratch("tls-files");
    let (cert, key) = certificate(&folder, "localhost");
    let (_, other_key) = certificate(&folder, "other.example");
    let encrypted = folder.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = folder.path("missing.pem");
    for (cert, key, expected) in [
        (&missing, &key, "No such file"),
        (&key, &key, "has no certificate"),
        (&cert, &cert, "has no private key"),
        (&cert, &encrypted, "--key-password"),
        (&cert, &other_key, "is not the one of"),
    ] {
        let arguments = [
            "server".to_owned(),
            "--wsuri=ws://127.0.0.1:0".to_owned(),
            "--port=0".to_owned(),
            format!("--cert={cert}"),
            format!("--key={key}"),
        ];
        let output = run("ringway", &arguments.each_ref().map(String::as_str));
        assert_eq!(output.code, USAGE, "{}", output.stderr);
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
    for arguments in [["server", "--tls=only"], ["server", "--cert=x.pem"]] {
        let output = run("ringway", &arguments);
        assert_eq!(output.code, USAGE, "{}", output.stderr);
        assert!(output.stderr.contains("--key"), "{}", output.stderr);
    }
}
