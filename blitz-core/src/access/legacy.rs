//! Password hashes of another program, to be checked once: werkzeug's `pbkdf2` and `scrypt`.
//!
//! `pbkdf2:sha256:260000$salt$hex` and `scrypt:32768:8:1$salt$hex`. Whoever logs in with one gets a hash
//! of ours in its place. scrypt (RFC 7914) is written here over ring's PBKDF2: it is small, and a
//! further library for a hash that is checked once is not worth having.

use std::num::NonZeroU32;

use ring::pbkdf2;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// More work than this is no password hash but an attack on whoever checks it.
const MAX_ITERATIONS: u32 = 2_000_000;
const MAX_SCRYPT_BYTES: u64 = 64 << 20;
const MAX_SCRYPT_WORK: u64 = 1 << 22;

/// A hash of another program, taken apart.
pub(super) struct LegacyHash<'a> {
    scheme: Scheme,
    salt: &'a str,
    expected: Vec<u8>,
}

enum Scheme {
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32),
    Scrypt { n: usize, r: usize, p: usize },
}

impl<'a> LegacyHash<'a> {
    /// Reads a stored hash; `None` for one that is not of these kinds.
    pub(super) fn parse(stored: &'a str) -> Option<Self> {
        let mut parts = stored.split('$');
        let (method, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let expected = unhex(hash).filter(|hash| (16..=64).contains(&hash.len()))?;
        let whole = parts.next().is_none() && (1..=128).contains(&salt.len());
        let scheme = Scheme::parse(method)?;
        whole.then_some(Self { scheme, salt, expected })
    }

    /// Whether this is the password. Takes as long as the hash says.
    pub(super) fn matches(&self, password: &str) -> Result<bool> {
        let mut found = Zeroizing::new(vec![0; self.expected.len()]);
        match &self.scheme {
            Scheme::Pbkdf2(algorithm, iterations) => {
                pbkdf2::derive(*algorithm, *iterations, self.salt.as_bytes(), password.as_bytes(), &mut found);
            }
            Scheme::Scrypt { n, r, p } => {
                scrypt(password.as_bytes(), self.salt.as_bytes(), *n, *r, *p, &mut found);
            }
        }
        // Both hashes are under a key, so how far they agree does not show in the time.
        let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| Error::internal("the system gives no random bytes"))?;
        let tag = ring::hmac::sign(&key, &self.expected);
        Ok(ring::hmac::verify(&key, &found, tag.as_ref()).is_ok())
    }
}

impl Scheme {
    fn parse(method: &str) -> Option<Self> {
        let parts: Vec<&str> = method.split(':').collect();
        match parts.as_slice() {
            ["pbkdf2", digest, iterations] => {
                let algorithm = match *digest {
                    "sha256" => pbkdf2::PBKDF2_HMAC_SHA256,
                    "sha512" => pbkdf2::PBKDF2_HMAC_SHA512,
                    "sha1" => pbkdf2::PBKDF2_HMAC_SHA1,
                    _ => return None,
                };
                let iterations: u32 = iterations.parse().ok().filter(|count| *count <= MAX_ITERATIONS)?;
                NonZeroU32::new(iterations).map(|iterations| Self::Pbkdf2(algorithm, iterations))
            }
            ["scrypt", n, r, p] => {
                let (n, r, p): (u64, u64, u64) = (n.parse().ok()?, r.parse().ok()?, p.parse().ok()?);
                let blocks = n.checked_mul(r)?;
                let ok = n.is_power_of_two()
                    && n > 1
                    && r > 0
                    && p > 0
                    && blocks.checked_mul(128)? <= MAX_SCRYPT_BYTES
                    && blocks.checked_mul(p)? <= MAX_SCRYPT_WORK;
                let size = |value: u64| usize::try_from(value).ok();
                ok.then_some(Self::Scrypt { n: size(n)?, r: size(r)?, p: size(p)? })
            }
            _ => None,
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// scrypt, RFC 7914 §6.
fn scrypt(password: &[u8], salt: &[u8], n: usize, r: usize, p: usize, out: &mut [u8]) {
    let derive = |salt: &[u8], out: &mut [u8]| {
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, salt, password, out);
    };
    let mut bytes = Zeroizing::new(vec![0; p * 128 * r]);
    derive(salt, &mut bytes);
    for chunk in bytes.chunks_mut(128 * r) {
        let words = chunk.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        let mut block: Vec<u32> = words.collect();
        mix(&mut block, n, r);
        for (four, word) in chunk.chunks_exact_mut(4).zip(block) {
            four.copy_from_slice(&word.to_le_bytes());
        }
    }
    derive(&bytes, out);
}

/// scryptROMix, RFC 7914 §5.
fn mix(block: &mut Vec<u32>, n: usize, r: usize) {
    let length = 32 * r;
    let mut memory = Zeroizing::new(Vec::with_capacity(n * length));
    let mut next = vec![0; length];
    for _ in 0..n {
        memory.extend_from_slice(block);
        mix_block(block, &mut next, r);
        std::mem::swap(block, &mut next);
    }
    for _ in 0..n {
        // n is a power of two below 2^32: the low word of the last 64 bytes is enough.
        let at = (block[length - 16] as usize & (n - 1)) * length;
        for (word, other) in block.iter_mut().zip(&memory[at..at + length]) {
            *word ^= other;
        }
        mix_block(block, &mut next, r);
        std::mem::swap(block, &mut next);
    }
}

/// scryptBlockMix, RFC 7914 §4.
fn mix_block(input: &[u32], output: &mut [u32], r: usize) {
    let mut x = [0; 16];
    x.copy_from_slice(&input[(2 * r - 1) * 16..]);
    for (i, block) in input.chunks_exact(16).enumerate() {
        for (word, other) in x.iter_mut().zip(block) {
            *word ^= other;
        }
        salsa20_8(&mut x);
        let at = if i % 2 == 0 { i / 2 } else { r + i / 2 } * 16;
        output[at..at + 16].copy_from_slice(&x);
    }
}

/// The core of Salsa20/8, RFC 7914 §3.
fn salsa20_8(block: &mut [u32; 16]) {
    /// A column or row round takes these four words, in this order.
    const QUARTERS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [5, 9, 13, 1],
        [10, 14, 2, 6],
        [15, 3, 7, 11],
        [0, 1, 2, 3],
        [5, 6, 7, 4],
        [10, 11, 8, 9],
        [15, 12, 13, 14],
    ];
    let mut x = *block;
    for _ in 0..4 {
        for [a, b, c, d] in QUARTERS {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    for (word, mixed) in block.iter_mut().zip(x) {
        *word = word.wrapping_add(mixed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::seal::hex;

    fn scrypt_hex(password: &str, salt: &str, n: usize, r: usize, p: usize) -> String {
        let mut out = [0; 64];
        scrypt(password.as_bytes(), salt.as_bytes(), n, r, p, &mut out);
        hex(&out)
    }

    #[test]
    fn scrypt_is_that_of_the_standard() {
        // RFC 7914 §12.
        assert_eq!(
            scrypt_hex("", "", 16, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
             fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        );
        assert_eq!(
            scrypt_hex("password", "NaCl", 1024, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
             2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
    }

    #[test]
    fn hashes_of_werkzeug_are_checked() {
        let pbkdf2 = format!("pbkdf2:sha256:1000$salt$0{}", "0".repeat(63));
        assert!(!LegacyHash::parse(&pbkdf2).unwrap().matches("password").unwrap());
        // RFC 7914 §11: PBKDF2-HMAC-SHA-256 ("passwd", "salt", 1), the first 32 bytes.
        let stored = "pbkdf2:sha256:1$salt$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
        assert!(LegacyHash::parse(stored).unwrap().matches("passwd").unwrap());
        assert!(!LegacyHash::parse(stored).unwrap().matches("password").unwrap());
        let hash = scrypt_hex("correct horse", "sodium", 1024, 8, 1);
        let stored = format!("scrypt:1024:8:1$sodium${hash}");
        assert!(LegacyHash::parse(&stored).unwrap().matches("correct horse").unwrap());
        assert!(!LegacyHash::parse(&stored).unwrap().matches("correct house").unwrap());
    }

    #[test]
    fn what_is_no_such_hash_or_too_much_work_is_refused() {
        let hash = "ab".repeat(32);
        for method in [
            "plain",
            "md5",
            "pbkdf2:md5:1000",
            "pbkdf2:sha256",
            "pbkdf2:sha256:0",
            "pbkdf2:sha256:-1",
            "pbkdf2:sha256:99999999",
            "scrypt:1000:8:1",
            "scrypt:1:8:1",
            "scrypt:32768:0:1",
            "scrypt:18446744073709551615:8:1",
            "scrypt:1048576:8:1",
            "scrypt:32768:8:1000",
        ] {
            assert!(LegacyHash::parse(&format!("{method}$salt${hash}")).is_none(), "{method}");
        }
        for rest in ["", "$", "$salt", "$salt$", "$salt$zz", "$salt$abc", "$$abcd", "$salt$ab$cd"] {
            assert!(LegacyHash::parse(&format!("scrypt:1024:8:1{rest}")).is_none(), "{rest}");
        }
    }
}
