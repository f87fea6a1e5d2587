//! JSON web tokens (RFC 7519): HS256 and EdDSA, over ring.
//!
//! Small on purpose. The header names a key of ours, and the key names its one algorithm; nothing that
//! a token says of itself leads anywhere else. Claims are read strictly: each is there, once, of its
//! type, and no other is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::{hmac, signature};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::{Secret, Timestamp, TokenAlgorithm};
use crate::error::{Error, Result};
use crate::store::seal::random;

/// The longest token that is read.
const MAX_BYTES: usize = 4096;

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;

/// No token of ours lives longer, in seconds.
const MAX_LIFE: i64 = 366 * 24 * 3600;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// Who issued it.
    pub(super) iss: String,
    /// For whom.
    pub(super) aud: String,
    /// The user's id.
    pub(super) sub: String,
    /// Its own number.
    pub(super) jti: String,
    /// `access`.
    pub(super) typ: String,
    /// The login that it hangs on.
    pub(super) sid: i64,
    /// The version of the user's standing.
    pub(super) ver: i64,
    /// When it was issued, in seconds.
    pub(super) iat: i64,
    /// From when on it holds.
    pub(super) nbf: i64,
    /// When it ends.
    pub(super) exp: i64,
}

/// What the header of a token of ours holds, and nothing else: no `jku`, `jwk`, `x5u`, `crit`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// A key with its secret part.
pub(super) struct SigningKey {
    pub(super) kid: String,
    algorithm: TokenAlgorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// A new key.
    pub(super) fn random(algorithm: TokenAlgorithm) -> Self {
        let kid = crate::store::seal::hex(&random::<8>());
        Self { kid, algorithm, secret: Zeroizing::new(random::<32>().to_vec()) }
    }

    /// A stored key.
    pub(super) fn stored(kid: &str, algorithm: TokenAlgorithm, secret: &Secret) -> Result<Self> {
        let bytes = BASE64URL.decode(secret.expose()).ok().filter(|bytes| bytes.len() == 32);
        let secret = bytes.ok_or_else(|| Error::storage("a token key is damaged: rotate it"))?;
        Ok(Self { kid: kid.to_owned(), algorithm, secret: Zeroizing::new(secret) })
    }

    /// Its secret part, to be sealed.
    pub(super) fn secret(&self) -> Secret {
        Secret::new(&Zeroizing::new(BASE64URL.encode(&*self.secret)))
    }

    /// The public part of a pair.
    pub(super) fn public_key(&self) -> Option<Vec<u8>> {
        use signature::KeyPair as _;
        match self.algorithm {
            TokenAlgorithm::Hs256 => None,
            TokenAlgorithm::EdDsa => Some(self.pair().public_key().as_ref().to_vec()),
        }
    }

    fn pair(&self) -> signature::Ed25519KeyPair {
        signature::Ed25519KeyPair::from_seed_unchecked(&self.secret).expect("a seed has 32 bytes")
    }

    /// A token that says this.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String> {
        let header = Header { alg: self.algorithm.name().to_owned(), typ: "JWT".to_owned(), kid: self.kid.clone() };
        let json = |value| serde_json::to_vec(value).map_err(|error| Error::internal("no JSON").with_source(error));
        let claims = serde_json::to_vec(claims).map_err(|error| Error::internal("no JSON").with_source(error))?;
        let input = format!("{}.{}", BASE64URL.encode(json(&header)?), BASE64URL.encode(claims));
        let signature = match self.algorithm {
            TokenAlgorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
                BASE64URL.encode(hmac::sign(&key, input.as_bytes()))
            }
            TokenAlgorithm::EdDsa => BASE64URL.encode(self.pair().sign(input.as_bytes())),
        };
        Ok(format!("{input}.{signature}"))
    }

    fn verifies(&self, input: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            TokenAlgorithm::Hs256 => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), input, signature).is_ok()
            }
            TokenAlgorithm::EdDsa => self.public_key().is_some_and(|public| {
                signature::UnparsedPublicKey::new(&signature::ED25519, public).verify(input, signature).is_ok()
            }),
        }
    }
}

/// A token before its signature is checked: nothing of it but the name of its key may be used.
pub(super) struct Unverified<'a> {
    /// The name of the key, 1 to 64 plain characters.
    pub(super) kid: String,
    algorithm: TokenAlgorithm,
    input: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// Takes a token apart; `None` for what can be none of ours.
pub(super) fn parse(token: &str) -> Option<Unverified<'_>> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let (input, signature) = token.rsplit_once('.')?;
    let (header, claims) = input.split_once('.')?;
    let header: Header = serde_json::from_slice(&BASE64URL.decode(header).ok()?).ok()?;
    let plain = (1..=64).contains(&header.kid.len()) && header.kid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let algorithm = TokenAlgorithm::from_name(&header.alg)?;
    let signature = BASE64URL.decode(signature).ok()?;
    (plain && header.typ == "JWT").then_some(Unverified { kid: header.kid, algorithm, input, claims, signature })
}

/// Checks a token against the key that it names; `None` where anything is not as it must be.
pub(super) fn verify(
    token: &Unverified<'_>,
    key: &SigningKey,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Option<Claims> {
    let ours = token.kid == key.kid && token.algorithm == key.algorithm;
    if !ours || !key.verifies(token.input.as_bytes(), &token.signature) {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&BASE64URL.decode(token.claims).ok()?).ok()?;
    let seconds = now.0.div_euclid(1_000_000);
    let life = claims.exp.checked_sub(claims.iat)?;
    let in_time = claims.iat >= 0
        && claims.nbf >= 0
        && (0..=MAX_LIFE).contains(&life)
        && claims.iat <= seconds.checked_add(LEEWAY)?
        && claims.nbf <= seconds.checked_add(LEEWAY)?
        && seconds < claims.exp.checked_add(LEEWAY)?;
    let meant = claims.iss == issuer && claims.aud == audience && claims.typ == "access";
    (in_time && meant).then_some(claims)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
