//! What TLS needs from files, as text: the supervisor reads it once, and workers inherit it in memory. So a worker that
//! replaces another one does not depend on what has become of the files.

use std::path::Path;

use super::password::decrypted;
use super::tickets::{TicketSecret, unix_s};
use super::{TlsOptions, TlsServer};
use crate::exit::Fatal;

/// Most bytes of one file (1 MiB): a chain of certificates has some KiB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Certificates and keys as PEM, and the secret of session tickets.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSecrets {
    /// Certificates with their keys, in the order of the options.
    pub(super) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Those that may have signed a client's certificate.
    pub(super) client_ca: Option<Vec<u8>>,
    pub(super) tickets: TicketSecret,
}

impl std::fmt::Debug for TlsSecrets {
    /// Shows no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSecrets")
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

impl TlsSecrets {
    /// Reads the files. `None`: the options ask for no TLS.
    ///
    /// # Errors
    /// A file cannot be read, or the options do not go together: one sentence with the remedy.
    pub fn read(options: &TlsOptions) -> Result<Option<Self>, Fatal> {
        if !options.is_wanted()? {
            return Ok(None);
        }
        let pairs = options.certificates.iter().zip(&options.keys);
        let password = options.key_password.as_ref();
        let pairs = pairs.map(|(certificate, key)| {
            Ok((read(certificate)?, decrypted(key, read(key)?, password)?))
        });
        let tickets = TicketSecret::random();
        Ok(Some(Self {
            pairs: pairs.collect::<Result<_, Fatal>>()?,
            client_ca: options.client_ca.as_deref().map(read).transpose()?,
            tickets: tickets
                .ok_or_else(|| Fatal::environment("the system gives no random bytes".to_owned()))?,
        }))
    }

    /// As bytes, for [`Self::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let tickets = &self.tickets;
        all.extend(tickets.began_unix_s.to_le_bytes());
        all.extend(tickets.number.to_le_bytes());
        all.extend(tickets.secret);
        push(&mut all, self.client_ca.as_deref().unwrap_or_default());
        for (certificate, key) in &self.pairs {
            push(&mut all, certificate);
            push(&mut all, key);
        }
        all
    }

    /// From the bytes of [`Self::encode`]; `None` if they are not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (began, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (secret, mut rest) = rest.split_first_chunk()?;
        let client_ca = pop(&mut rest)?;
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            pairs.push((pop(&mut rest)?.to_vec(), pop(&mut rest)?.to_vec()));
        }
        Some(Self {
            pairs,
            client_ca: (!client_ca.is_empty()).then(|| client_ca.to_vec()),
            tickets: TicketSecret {
                began_unix_s: u64::from_le_bytes(*began),
                number: u64::from_le_bytes(*number),
                secret: *secret,
            },
        })
    }
}

/// A field: its length, then its bytes.
fn push(all: &mut Vec<u8>, field: &[u8]) {
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX); // files are shorter
    all.extend(len.to_le_bytes());
    all.extend(field);
}

fn pop<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (field, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(field)
}

fn read(path: &Path) -> Result<Vec<u8>, Fatal> {
    let wrong = |why: &str| Fatal::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    match text.len() {
        0 => Err(wrong("it is empty")),
        1..=FILE_BYTES_MAX => Ok(text),
        _ => Err(wrong("it has more than 1 MiB: is it a PEM file?")),
    }
}

/// The secrets of a running server, which are read again when their files change.
#[derive(Clone, Debug)]
pub struct TlsSupply {
    options: TlsOptions,
    secrets: TlsSecrets,
}

impl TlsSupply {
    /// Reads the files, and checks that a worker can use them. `None`: the options ask for no TLS.
    ///
    /// # Errors
    /// As [`TlsSecrets::read`] and [`TlsServer::new`].
    pub fn load(options: &TlsOptions) -> Result<Option<Self>, Fatal> {
        let Some(secrets) = TlsSecrets::read(options)? else {
            return Ok(None);
        };
        TlsServer::new(options, &secrets)?;
        let options = options.clone();
        Ok(Some(Self { options, secrets }))
    }

    /// Reads the files again. If they cannot be used, what was read before stays.
    ///
    /// # Errors
    /// The sentence about the first file that cannot be used.
    pub fn reread(&mut self) -> Result<(), Fatal> {
        let Some(read) = TlsSecrets::read(&self.options)? else {
            return Ok(());
        };
        let secrets = TlsSecrets {
            tickets: self.secrets.tickets.clone(),
            ..read
        };
        TlsServer::new(&self.options, &secrets)?;
        self.secrets = secrets;
        Ok(())
    }

    /// What a worker needs that starts now, and whether it differs from the last time because the secret of tickets
    /// stepped on.
    pub fn present(&mut self) -> (Vec<u8>, bool) {
        let stepped = self.secrets.tickets.advance(unix_s());
        (self.secrets.encode(), stepped)
    }

    /// What was read last.
    pub const fn secrets(&self) -> &TlsSecrets {
        &self.secrets
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let options = &self.options;
        let pairs = options.certificates.iter().chain(&options.keys);
        pairs
            .chain(&options.client_ca)
            .map(std::path::PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_from_their_bytes() {
        for client_ca in [None, Some(b"ca".to_vec())] {
            let secrets = TlsSecrets {
                pairs: vec![
                    (b"cert".to_vec(), b"key".to_vec()),
                    (vec![1], vec![2; 70_000]),
                ],
                client_ca,
                tickets: TicketSecret::random().unwrap(),
            };
            let bytes = secrets.encode();
            assert_eq!(TlsSecrets::decode(&bytes).as_ref(), Some(&secrets));
            for cut in [0, 7, 40, 47, 50, bytes.len() - 1] {
                assert_eq!(TlsSecrets::decode(&bytes[..cut]), None, "{cut}");
            }
        }
    }
}
