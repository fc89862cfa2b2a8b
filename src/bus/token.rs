//! Rights from a signed token (JWT, RFC 7519): signature and claims in, rights out.
//!
//! Owns: which algorithm and key are accepted, and what the claims mean.
//! Never: reads a clock (the time of day is an argument), or fetches keys.
//!
//! ```json
//! {"sub":"ada","exp":1764361200,"nbf":1764357600,"iss":"https://login.example","aud":"ringway",
//!  "publish":["chat/{sub}/#"],"subscribe":["chat/#"]}
//! ```
//!
//! `exp` is required, `nbf` is obeyed. `publish` and `subscribe` are patterns; a list that is missing leaves what the configuration grants.
//! `{sub}` in either stands for the subject. `iss` and `aud` must be the configured ones, if any are configured; a token that names an
//! audience is refused where none is.

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use crate::rights::{BadRights, Rights};

/// Bytes of a token: it travels in a header, a cookie or a query, which are not longer.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Bytes of a secret, at least: RFC 7518 §3.2 asks for as many as the hash has.
pub const SECRET_BYTES_MIN: usize = 32;

/// How far the clocks of issuer and server may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// Checks tokens against one key and one algorithm, so that a token cannot choose how it is judged.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        let algorithms = &self.validation.algorithms;
        f.debug_struct("Verifier")
            .field("algorithms", algorithms)
            .finish_non_exhaustive()
    }
}

/// What a good token grants.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The claim `sub`.
    pub subject: Option<String>,
    /// What the client may do.
    pub rights: Rights,
    /// Until when, since 1970: the connection ends then at the latest, or gets a new token. The clocks' difference is included.
    pub expires_at: Duration,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
}

impl Verifier {
    /// Accepts HS256 tokens: whoever has the secret can issue them.
    ///
    /// # Errors
    /// The secret is shorter than [`SECRET_BYTES_MIN`].
    pub fn hs256(secret: &[u8]) -> Result<Self, BadKey> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(BadKey::SecretTooShort);
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| BadKey::SecretTooShort)?;
        Ok(Self::new(key, Algorithm::HS256))
    }

    /// Accepts EdDSA tokens (Ed25519): this server can check them and not issue any.
    ///
    /// # Errors
    /// This is no public key in PEM, as `openssl pkey -pubout` prints it.
    pub fn eddsa(public_key_pem: &[u8]) -> Result<Self, BadKey> {
        let key = DecodingKey::from_ed_pem(public_key_pem).map_err(|_| BadKey::PemInvalid)?;
        Ok(Self::new(key, Algorithm::EdDSA))
    }

    /// Accepts RS256 tokens: this server can check them and not issue any.
    ///
    /// # Errors
    /// This is no public RSA key in PEM.
    pub fn rs256(public_key_pem: &[u8]) -> Result<Self, BadKey> {
        let key = DecodingKey::from_rsa_pem(public_key_pem).map_err(|_| BadKey::PemInvalid)?;
        Ok(Self::new(key, Algorithm::RS256))
    }

    /// Checks the signature, the issuer and the audience, and the times if the token has any. Returns the claims as JSON.
    ///
    /// # Errors
    /// The token is not good; see [`BadToken`].
    pub fn claims(
        &self,
        token: &str,
        now: Duration,
    ) -> Result<serde_json::Map<String, serde_json::Value>, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let decoded = decode::<serde_json::Map<String, serde_json::Value>>(
            token,
            &self.key,
            &self.validation,
        );
        let claims = decoded.map_err(|error| bad(error.kind()))?.claims;
        let date = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_f64().ok_or(BadToken::ClaimsInvalid)?;
                seconds(number).map(Some)
            }
        };
        check_times(date("exp")?, date("nbf")?, now)?;
        Ok(claims)
    }

    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        // By the time that the caller gives, and not by the library's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        Self { key, validation }
    }

    /// Only tokens of this issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.validation.set_issuer(&[issuer]);
        self.validation
            .required_spec_claims
            .insert("iss".to_owned());
        self
    }

    /// Only tokens for this audience.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        self.validation.set_audience(&[audience]);
        self.validation
            .required_spec_claims
            .insert("aud".to_owned());
        self
    }

    /// Judges a token at a time of day, since 1970. `configured` are the rights of every client of this path.
    ///
    /// # Errors
    /// The token grants nothing; see [`BadToken`].
    pub fn verify(
        &self,
        token: &str,
        now: Duration,
        configured: &Rights,
    ) -> Result<Grant, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let claims = decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| bad(error.kind()))?
            .claims;
        let expiry = seconds(claims.exp.ok_or(BadToken::NoExpiry)?)?;
        check_times(Some(expiry), claims.nbf.map(seconds).transpose()?, now)?;
        let expires_at = expiry.saturating_add(LEEWAY);
        let Claims {
            sub: subject,
            publish,
            subscribe,
            ..
        } = claims;
        let rights = configured.with_lists(publish.as_deref(), subscribe.as_deref());
        let rights = rights.and_then(|rights| rights.for_subject(subject.as_deref()));
        Ok(Grant {
            rights: rights.map_err(BadToken::Rights)?,
            subject,
            expires_at,
        })
    }
}

/// Whether a token with these times is good now.
fn check_times(
    expiry: Option<Duration>,
    not_before: Option<Duration>,
    now: Duration,
) -> Result<(), BadToken> {
    if expiry.is_some_and(|expiry| now >= expiry.saturating_add(LEEWAY)) {
        return Err(BadToken::Expired);
    }
    match not_before.is_some_and(|not_before| now.saturating_add(LEEWAY) < not_before) {
        true => Err(BadToken::NotYet),
        false => Ok(()),
    }
}

/// A NumericDate: seconds since 1970, with a fraction if the issuer likes (RFC 7519 §2).
fn seconds(date: f64) -> Result<Duration, BadToken> {
    Duration::try_from_secs_f64(date).map_err(|_| BadToken::ClaimsInvalid)
}

const fn bad(kind: &ErrorKind) -> BadToken {
    match kind {
        ErrorKind::InvalidSignature => BadToken::SignatureWrong,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => BadToken::AlgorithmWrong,
        ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::MissingRequiredClaim(_) => BadToken::IssuerOrAudienceWrong,
        ErrorKind::InvalidClaimFormat(_) => BadToken::ClaimsInvalid,
        // Also claims that are JSON of another shape: it is told apart from a broken token nowhere.
        _ => BadToken::Malformed,
    }
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadKey {
    /// No public key of Ed25519 or RSA in PEM.
    PemInvalid,
    /// Below [`SECRET_BYTES_MIN`].
    SecretTooShort,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PemInvalid => write!(f, "this is no public Ed25519 or RSA key in PEM"),
            Self::SecretTooShort => {
                write!(
                    f,
                    "a secret for HS256 has at least {SECRET_BYTES_MIN} bytes"
                )
            }
        }
    }
}

impl std::error::Error for BadKey {}

/// Why a token grants nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadToken {
    /// Signed by another algorithm than the configured one.
    AlgorithmWrong,
    /// A claim of another type or out of range.
    ClaimsInvalid,
    /// Its time is over.
    Expired,
    /// From another issuer or for another audience, or it does not say.
    IssuerOrAudienceWrong,
    /// No token, or claims of another shape.
    Malformed,
    /// Without `exp` a token would be good for ever.
    NoExpiry,
    /// Its time has not come.
    NotYet,
    /// Its lists are no rights.
    Rights(BadRights),
    /// The signature is not that of the configured key.
    SignatureWrong,
    /// Above [`TOKEN_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlgorithmWrong => write!(f, "the token is signed by another algorithm"),
            Self::ClaimsInvalid => write!(f, "a claim of the token is not possible"),
            Self::Expired => write!(f, "the token has expired"),
            Self::IssuerOrAudienceWrong => write!(f, "the token is of another issuer or audience"),
            Self::Malformed => write!(f, "this is no token"),
            Self::NoExpiry => write!(f, "the token does not expire"),
            Self::NotYet => write!(f, "the token is not valid yet"),
            Self::Rights(bad) => bad.fmt(f),
            Self::SignatureWrong => write!(f, "the signature of the token is wrong"),
            Self::TooLong => write!(f, "a token has at most {TOKEN_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for BadToken {}
