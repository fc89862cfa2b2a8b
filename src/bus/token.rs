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
        let expires_at = seconds(claims.exp.ok_or(BadToken::NoExpiry)?)?.saturating_add(LEEWAY);
        if now >= expires_at {
            return Err(BadToken::Expired);
        }
        if let Some(not_before) = claims.nbf
            && now.saturating_add(LEEWAY) < seconds(not_before)?
        {
            return Err(BadToken::NotYet);
        }
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
    /// No public key of Ed25519 in PEM.
    PemInvalid,
    /// Below [`SECRET_BYTES_MIN`].
    SecretTooShort,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PemInvalid => write!(f, "this is no public Ed25519 key in PEM"),
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
