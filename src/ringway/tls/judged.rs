//! What the fuzz target `records` does with its input: a peer that shook hands, and then sends whatever it likes.

use ring::aead::{AES_256_GCM, CHACHA20_POLY1305};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, Key, PLAIN_BYTES_MAX, Shape};
use super::records::{Opened, Records};
use super::traffic::{Secret, Told};

/// Most bytes of our alerts and answers: each is short, and there are at most a declined renegotiation, one answer to all
/// updates of keys, and an alert.
const OUT_BYTES_MAX: usize = 120;

/// The records of a server as they are after a handshake with these keys.
fn records(version: ProtocolVersion, with_gcm: bool) -> Records {
    let secrets = |byte| match with_gcm {
        true => ConnectionTrafficSecrets::Aes256Gcm {
            key: AeadKey::from([byte; 32]),
            iv: Iv::from([byte; 12]),
        },
        false => ConnectionTrafficSecrets::Chacha20Poly1305 {
            key: AeadKey::from([byte; 32]),
            iv: Iv::from([byte; 12]),
        },
    };
    let told = Told {
        client: Secret::new(&[3; 48]),
        server: Secret::new(&[4; 48]),
    };
    let secrets = ExtractedSecrets {
        tx: (0, secrets(1)),
        rx: (0, secrets(2)),
    };
    Records::new(version, &secrets, &told, None).expect("a known suite")
}

/// The peer: it has our key for what it sends.
struct Forger {
    key: Key,
    shape: Shape,
    secret: Secret,
    /// What it said in whole records.
    said: Vec<u8>,
}

impl Forger {
    fn new(version: ProtocolVersion, with_gcm: bool) -> Self {
        let secrets = match with_gcm {
            true => &AES_256_GCM,
            false => &CHACHA20_POLY1305,
        };
        let key = Key::fixed(secrets, 2);
        Self {
            shape: key.shape(version),
            key,
            secret: Secret::new(&[3; 48]).expect("the length of a hash"),
            said: Vec::new(),
        }
    }

    fn seal(&mut self, kind: u8, content: &[u8], wire: &mut Vec<u8>) {
        let start = wire.len();
        wire.resize(start + self.shape.front(), 0);
        wire.extend_from_slice(content);
        wire.resize(wire.len() + self.shape.back(), 0);
        self.key.seal(self.shape, kind, &mut wire[start..]);
        let said = match (kind, self.shape) {
            (APPLICATION_DATA, _) => content,
            // Its type is what stands before the padding.
            (0, Shape::V1_3) => match content.iter().rposition(|byte| *byte != 0) {
                Some(len) if content[len] == APPLICATION_DATA => &content[..len],
                _ => &[],
            },
            _ => &[],
        };
        self.said.extend_from_slice(said);
        if self.shape == Shape::V1_3 && kind == HANDSHAKE && matches!(content, [24, 0, 0, 1, 0 | 1])
        {
            let (key, iv) = self.secret.update(self.key.aead.algorithm());
            self.key = Key::new(key, iv);
        }
    }
}

/// The first byte chooses the suite, the second the pieces in which the rest arrives: records with any content, sealed as a
/// peer would that has the key, and bytes that are none. No cut changes what is read, and nothing is read that was not said.
pub fn judge(data: &[u8]) {
    let [choice, piece, script @ ..] = data else {
        return;
    };
    let version = match choice & 1 {
        0 => ProtocolVersion::TLSv1_3,
        _ => ProtocolVersion::TLSv1_2,
    };
    let with_gcm = choice & 2 == 0;
    let mut forger = Forger::new(version, with_gcm);
    let (mut wire, mut script) = (Vec::new(), script);
    while let [op, len, rest @ ..] = script {
        let (content, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        script = rest;
        match op & 7 {
            0..=2 => forger.seal(APPLICATION_DATA, content, &mut wire),
            3 | 4 => forger.seal(HANDSHAKE, content, &mut wire),
            5 => forger.seal(ALERT, content, &mut wire),
            6 => forger.seal(op >> 3, content, &mut wire),
            _ => wire.extend_from_slice(content),
        }
    }
    let listen = |piece| listen(records(version, with_gcm), &wire, piece);
    let whole = listen(wire.len().max(1));
    assert!(forger.said.starts_with(&whole.0), "read what nobody said");
    assert_eq!(listen(1), whole, "byte by byte");
    assert_eq!(listen(usize::from(*piece) + 2), whole, "in pieces");
}

/// Plaintext, our output, and how it ended.
fn listen(mut records: Records, wire: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, String) {
    let (mut plain, mut out, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for piece in wire.chunks(piece) {
        held.extend_from_slice(piece);
        let reading = records.open(&mut held, &mut out);
        plain.extend_from_slice(&held[reading.plain]);
        assert!(out.len() <= OUT_BYTES_MAX);
        if reading.result != Ok(Opened::More) {
            return (plain, out, format!("{:?}", reading.result));
        }
        held.drain(..reading.used);
        assert!(held.len() < PLAIN_BYTES_MAX + 2100, "a record has an end");
    }
    (plain, out, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the fuzz target does, without a fuzzer: scripts of a few records with short content.
    #[test]
    fn random_peers_are_judged() {
        let mut state = 0x5eed_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        for _ in 0..20_000 {
            let mut script = vec![next(), next()];
            for _ in 0..next() % 8 {
                let len = next() % 7;
                script.extend([next(), len]);
                // Small numbers are types of messages, lengths and alerts.
                script.extend((0..len).map(|_| match next() {
                    byte @ ..128 => byte % 3,
                    byte @ ..192 => byte % 32,
                    byte => byte,
                }));
            }
            judge(&script);
        }
    }

    #[test]
    fn a_forged_update_is_followed() {
        for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
            let is_1_3 = version == ProtocolVersion::TLSv1_3;
            let (mut forger, mut wire) = (Forger::new(version, true), Vec::new());
            forger.seal(HANDSHAKE, &[24, 0, 0, 1, 1], &mut wire);
            forger.seal(APPLICATION_DATA, b"new key", &mut wire);
            let (plain, out, end) = listen(records(version, true), &wire, 5);
            assert_eq!(plain == b"new key", is_1_3);
            assert_eq!(end.is_empty(), is_1_3, "{end}");
            assert!(!out.is_empty(), "an answer or an alert");
        }
    }
}
