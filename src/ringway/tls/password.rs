//! Private keys that are encrypted: PKCS #8 (RFC 5958), as `openssl pkey -aes256` writes them.
//!
//! Owns: the way from the text of a file to that of a plain key. Never: keeps a password.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::SecretDocument;
use pkcs8::der::pem::LineEnding;

use super::KeyPassword;
use crate::exit::Fatal;

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// The text of a key's file with its key in plain. One that is plain already stays as it is.
///
/// # Errors
/// There is no password, or it is another one: a sentence with the remedy.
pub(super) fn decrypted(
    path: &Path,
    text: Vec<u8>,
    password: Option<&KeyPassword>,
) -> Result<Vec<u8>, Fatal> {
    let wrong = |why: &str| Fatal::usage(format!("{}: {why}", path.display()));
    let said = String::from_utf8_lossy(&text);
    if said.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(wrong(
            "the key is encrypted in an old form that a password guesser has in no time; make it new with openssl pkcs8 -topk8 -in FILE -out NEW",
        ));
    }
    let Some(at) = said.find(BEGIN) else {
        return Ok(text);
    };
    let Some(password) = password else {
        return Err(wrong(
            "the key is encrypted; give its password with --key-password, or decrypt it with openssl pkey -in FILE -out NEW",
        ));
    };
    let password = password.read()?;
    let end = said[at..]
        .find(END)
        .map_or(said.len(), |end| at + end + END.len());
    let broken = || wrong("the key is encrypted in a way that is not known here, or damaged");
    let (_, document) = SecretDocument::from_pem(&said[at..end]).map_err(|_| broken())?;
    let encrypted =
        EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| broken())?;
    let plain = encrypted.decrypt(&password);
    let plain = plain.map_err(|_| wrong("--key-password is not the password of this key"))?;
    let plain = plain.to_pem("PRIVATE KEY", LineEnding::LF);
    plain
        .map(|plain| plain.as_bytes().to_vec())
        .map_err(|_| broken())
}
