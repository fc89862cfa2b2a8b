//! TLS of a simulated peer, by the library's ordinary API: what it says becomes records, and back.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use crate::io::sim::{PeerId, Sim};
use crate::tls::{TlsClient, TlsOptions, TlsSecrets, TlsServer};

/// A server's TLS, ours and the library's, and clients that trust it, the same in every world.
struct All {
    ours: TlsServer,
    clients: Arc<ClientConfig>,
    servers: Arc<ServerConfig>,
}

/// Ed25519: its signatures have one length, so that a seed repeats a run to the byte.
static ALL: LazyLock<All> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed");
    let folder = std::env::temp_dir().join(format!("ringway-sim-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).expect("a file");
    std::fs::write(&key_file, key.serialize_pem()).expect("a file");
    let options = TlsOptions {
        certificates: vec![cert_file],
        keys: vec![key_file],
        ..TlsOptions::default()
    };
    let secrets = TlsSecrets::read(&options).expect("good files");
    let server = TlsServer::new(&options, &secrets.expect("TLS is asked for")).expect("good files");
    let _ = std::fs::remove_dir_all(&folder);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let servers = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a certificate with its key");
    All {
        ours: server,
        clients: trusting(certificate.der().clone()),
        servers: Arc::new(servers),
    }
});

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The TLS of the worker.
pub(super) fn server() -> TlsServer {
    ALL.ours.clone()
}

/// The TLS of the worker's connections to a server that the tests play, whose certificate is for `localhost`.
pub(super) fn client(name: &str) -> TlsClient {
    TlsClient::new(ALL.clients.clone(), name).expect("a name")
}

/// A peer's session.
#[derive(Debug)]
pub(super) struct Session(Box<Connection>);

impl Session {
    pub(super) fn new() -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(ALL.clients.clone(), name).expect("a session");
        // What is said before the handshake is complete waits for that.
        session.set_buffer_limit(None);
        Self(Box::new(session.into()))
    }

    /// A server's.
    pub(super) fn accept() -> Self {
        let mut session = ServerConnection::new(ALL.servers.clone()).expect("a session");
        session.set_buffer_limit(None);
        Self(Box::new(session.into()))
    }

    /// Whether what was said waits for the handshake.
    pub(super) fn waits(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Says `bytes`, now or when the handshake is complete.
    pub(super) fn send(&mut self, sim: &mut Sim, peer: PeerId, bytes: &[u8]) {
        // Refused only when the session has failed: see below.
        let _ = self.0.writer().write_all(bytes);
        self.flush(sim, peer);
    }

    /// Changes its keys, and asks the worker for the same.
    pub(super) fn refresh(&mut self, sim: &mut Sim, peer: PeerId) {
        if !self.waits() {
            self.0.refresh_traffic_keys().expect("TLS 1.3");
            self.flush(sim, peer);
        }
    }

    /// Says close_notify.
    pub(super) fn close(&mut self, sim: &mut Sim, peer: PeerId) {
        self.0.send_close_notify();
        self.flush(sim, peer);
    }

    fn flush(&mut self, sim: &mut Sim, peer: PeerId) {
        let mut records = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut records).expect("memory");
        }
        if !records.is_empty() {
            sim.peer_send(peer, &records);
        }
    }

    /// What is in `records`.
    pub(super) fn receive(&mut self, sim: &mut Sim, peer: PeerId, mut records: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !records.is_empty() {
            self.0.read_tls(&mut records).expect("memory");
            let result = self.0.process_new_packets();
            if result.is_err() && self.0.is_handshaking() {
                // A server that stops says so in plain text to whom has said nothing.
                return Vec::new();
            }
            result.expect("a worker's records are valid");
            // An end without close_notify is a matter of the test.
            let _ = self.0.reader().read_to_end(&mut all);
        }
        self.flush(sim, peer);
        all
    }
}
