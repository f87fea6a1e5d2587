//! Random tokens and API keys: how they look, and what is kept of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::{digest, hmac};

use crate::domain::Secret;
use crate::store::seal::{hex, random};

/// A login's token.
pub(super) const SESSION: &str = "bs_";
/// What gives the next tokens.
pub(super) const REFRESH: &str = "br_";
/// What sets a new password.
pub(super) const RESET: &str = "bp_";
/// An API key.
const KEY: &str = "bz_";

/// 32 random bytes as text.
const RANDOM_LENGTH: usize = 43;

/// The part of an API key that is no secret.
const PUBLIC_LENGTH: usize = 12;

/// A new token of a kind: 256 random bits behind its prefix.
pub(super) fn new(prefix: &str) -> String {
    format!("{prefix}{}", BASE64URL.encode(random::<32>()))
}

/// What is kept of a token, if the text can be one of that kind. A token is random and long: its plain
/// hash gives nothing away, and is looked up as a whole.
pub(super) fn hash(prefix: &str, token: &str) -> Option<Vec<u8>> {
    let random = token.strip_prefix(prefix)?;
    is_random(random).then(|| digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec())
}

/// A new API key: the part that is no secret, and the whole.
pub(super) fn new_key() -> (String, String) {
    let public = hex(&random::<{ PUBLIC_LENGTH / 2 }>());
    let key = format!("{KEY}{public}_{}", BASE64URL.encode(random::<32>()));
    (public, key)
}

/// The part of an API key that is no secret, if the text can be one.
pub(super) fn public_part(key: &Secret) -> Option<&str> {
    let (public, random) = key.expose().strip_prefix(KEY)?.split_once('_')?;
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (public.len() == PUBLIC_LENGTH && public.bytes().all(plain) && is_random(random)).then_some(public)
}

/// What is kept of an API key: a hash under a key that is not in the file.
pub(super) fn mac(under: &hmac::Key, key: &str) -> Vec<u8> {
    hmac::sign(under, key.as_bytes()).as_ref().to_vec()
}

/// Compares an API key with what is kept of one, in constant time; without one the work is the same.
pub(super) fn matches(under: &hmac::Key, key: &Secret, stored: Option<&[u8]>) -> bool {
    let same = hmac::verify(under, key.expose().as_bytes(), stored.unwrap_or(&[0; 32])).is_ok();
    same && stored.is_some()
}

fn is_random(text: &str) -> bool {
    text.len() == RANDOM_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_kind_only() {
        let token = new(SESSION);
        assert!(hash(SESSION, &token).is_some() && hash(REFRESH, &token).is_none());
        assert_ne!(token, new(SESSION));
        for wrong in [String::new(), "bs_".into(), token[..45].into(), format!("{token}A"), format!("{token} ")] {
            assert!(hash(SESSION, &wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn t37_a_key_is_known_by_all_of_it() {
        let under = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let (public, key) = new_key();
        let stored = mac(&under, &key);
        let matches = |key: &str, stored| matches(&under, &Secret::new(key), stored);
        assert_eq!(public_part(&Secret::new(&key)), Some(public.as_str()));
        assert!(matches(&key, Some(&stored)));
        assert!(!matches(&key, None) && !matches(&new_key().1, Some(&stored)));
        assert!(!matches(&hex(&stored), Some(&stored)), "the stored hash is no key");
        for wrong in
            [String::new(), format!("bz_{public}"), format!("bz_{public}_"), key[..58].into(), format!("{key}A")]
        {
            assert!(public_part(&Secret::new(&wrong)).is_none(), "{wrong}");
        }
    }
}
