//! Passwords: argon2id, a bounded number of hashes at once, the same work for unknown users.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;

use super::legacy::LegacyHash;
use crate::domain::Secret;
use crate::error::{Error, Result};
use crate::store::seal::random;

/// The cost of a hash: 19 MiB, two passes, one lane.
/// Source: the floor of OWASP's password storage cheat sheet.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes at the same time: each holds its memory and a core.
const AT_ONCE: usize = 2;

const MIN_BYTES: usize = 8;
const MAX_BYTES: usize = 1024;

/// The most common passwords of eight characters and more; shorter ones are refused anyway.
const COMMON: &[&str] = &[
    "00000000",
    "11111111",
    "11223344",
    "12341234",
    "123123123",
    "12345678",
    "123456789",
    "1234567890",
    "123qweasd",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "87654321",
    "88888888",
    "987654321",
    "abcd1234",
    "abcdefgh",
    "administrator",
    "admin123",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "baseball",
    "changeme",
    "computer",
    "football",
    "iloveyou",
    "letmein1",
    "passw0rd",
    "password",
    "password1",
    "password12",
    "password123",
    "princess",
    "qwer1234",
    "qwerty123",
    "qwertyui",
    "qwertyuiop",
    "starwars",
    "sunshine",
    "superman",
    "trustno1",
    "welcome1",
    "whatever",
];

/// A hash of no password, of the usual cost: what an unknown user's password is compared with.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$Ym9keSBob21lIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Makes and compares password hashes, off the async threads and few at a time.
pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    /// Memory that no hash works in now.
    spare: Arc<Mutex<Vec<Memory>>>,
}

/// What a hash works in: 19 MiB, used again by the next one. An allocator may keep what is given back for the thread
/// that had it, and hashes come on any of hundreds of threads.
type Memory = Vec<Block>;

/// What a comparison gives.
pub(super) struct Compared {
    /// Whether it is the password.
    pub(super) matches: bool,
    /// Its hash at today's cost, where the stored one was made at another.
    pub(super) rehashed: Option<Secret>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), spare: Arc::default() }
    }
}

impl Passwords {
    /// The hash of a new password, to be sealed.
    ///
    /// Errors: `InvalidInput` for a password that is too short, too long or too common.
    pub(super) async fn hash(&self, password: &Secret) -> Result<Secret> {
        check_new(password)?;
        let password = password.clone();
        self.work(move |memory| hash(&password, memory)).await
    }

    /// The same for a password that may be weak. Errors: `InvalidInput` for one that is empty or too long.
    pub(super) async fn hash_weak(&self, password: &Secret) -> Result<Secret> {
        check_length(password)?;
        if password.expose().is_empty() {
            return Err(length_error());
        }
        let password = password.clone();
        self.work(move |memory| hash(&password, memory)).await
    }

    /// Compares a password with a stored hash; without one the work is the same and nothing matches.
    pub(super) async fn compare(&self, password: &Secret, stored: Option<Secret>) -> Result<Compared> {
        check_length(password)?;
        let password = password.clone();
        self.work(move |memory| compare(&password, stored.as_ref(), memory)).await
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce(&mut Memory) -> Result<T> + Send + 'static) -> Result<T> {
        let closed = |_| Error::closed("the engine is closed");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let spare = Arc::clone(&self.spare);
        // The permit goes with the work: a caller that gives up does not make room for another hash.
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut memory = spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = job(&mut memory);
            // An imported hash may have needed more.
            if memory.len() <= MEMORY_KIB as usize {
                spare.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            }
            done
        });
        working.await.map_err(|error| Error::internal("a password hash was broken off").with_source(error))?
    }
}

/// Refuses a password that is too long to be hashed.
fn check_length(password: &Secret) -> Result<()> {
    match password.expose().len() <= MAX_BYTES {
        true => Ok(()),
        false => Err(length_error()),
    }
}

pub(super) fn check_new(password: &Secret) -> Result<()> {
    check_length(password)?;
    if password.expose().len() < MIN_BYTES {
        return Err(length_error());
    }
    if COMMON.contains(&password.expose().to_lowercase().as_str()) {
        return Err(Error::invalid("this password is among the most common ones: choose another"));
    }
    Ok(())
}

fn length_error() -> Error {
    Error::invalid(format!("a password has {MIN_BYTES} to {MAX_BYTES} bytes"))
}

fn cost() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the constants are a valid cost")
}

/// Fills `out` with the hash of a password.
fn digest(hasher: &Argon2, password: &Secret, salt: &[u8], out: &mut [u8], memory: &mut Memory) -> argon2::Result<()> {
    let blocks = hasher.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    hasher.hash_password_into_with_memory(password.expose().as_bytes(), salt, out, &mut memory[..blocks])
}

fn hash(password: &Secret, memory: &mut Memory) -> Result<Secret> {
    let failed = || Error::internal("a password could not be hashed");
    let (salt, params) = (random::<16>(), cost());
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    digest(&hasher, password, &salt, &mut out, memory).map_err(|error| failed().with_source(error))?;
    let phc = Phc {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(|error| failed().with_source(error))?,
        salt: Some(Salt::new(&salt).map_err(|error| failed().with_source(error))?),
        hash: Some(Output::new(&out).map_err(|error| failed().with_source(error))?),
    };
    Ok(Secret::new(&phc.to_string()))
}

fn compare(password: &Secret, stored: Option<&Secret>, memory: &mut Memory) -> Result<Compared> {
    let text = stored.map_or(NOBODY, Secret::expose);
    if let Some(legacy) = LegacyHash::parse(text) {
        let matches = legacy.matches(password.expose())?;
        let rehashed = if matches { Some(hash(password, memory)?) } else { None };
        return Ok(Compared { matches, rehashed });
    }
    let phc = Phc::new(text)
        .map_err(|error| Error::storage("a stored password is damaged: set a new one").with_source(error))?;
    let matches = is_of(password, &phc, memory).unwrap_or(false) && stored.is_some();
    let rehashed = if matches && is_outdated(&phc) { Some(hash(password, memory)?) } else { None };
    Ok(Compared { matches, rehashed })
}

/// Whether a hash is this password's; `None` for one that is no hash of argon2.
fn is_of(password: &Secret, phc: &Phc, memory: &mut Memory) -> Option<bool> {
    let (salt, expected) = (phc.salt.as_ref()?, phc.hash.as_ref()?);
    let algorithm = Algorithm::try_from(phc.algorithm.as_str()).ok()?;
    let version = phc.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let hasher = Argon2::new(algorithm, version, Params::try_from(phc).ok()?);
    let mut out = vec![0; expected.len()];
    digest(&hasher, password, salt, &mut out, memory).ok()?;
    // In constant time.
    Some(Output::new(&out).ok()? == *expected)
}

fn is_outdated(phc: &Phc) -> bool {
    let current = Params::try_from(phc)
        .is_ok_and(|params| (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES));
    !(current && phc.algorithm.as_str() == "argon2id" && phc.version == Some(Version::V0x13.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    async fn matches(password: &str, stored: &Secret) -> bool {
        Passwords::default().compare(&secret(password), Some(stored.clone())).await.unwrap().matches
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let hash = Passwords::default().hash(&secret("correct horse")).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(matches("correct horse", &hash).await);
        assert!(!matches("correct house", &hash).await);
        let again = Passwords::default().hash(&secret("correct horse")).await.unwrap();
        assert!(hash != again, "every hash has a salt of its own");
    }

    #[tokio::test]
    async fn t35_bytes_count_and_all_of_them() {
        let passwords = Passwords::default();
        let started = std::time::Instant::now();
        let huge = passwords.hash(&secret(&"x".repeat(1_000_000))).await.unwrap_err();
        assert_eq!(huge.code(), crate::ErrorCode::InvalidInput);
        assert!(passwords.compare(&secret(&"x".repeat(1025)), None).await.is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "the length is checked before hashing");
        assert!(passwords.hash(&secret("seven77")).await.is_err());

        let unicode = "\u{10348}".repeat(64);
        let hash = passwords.hash(&secret(&unicode)).await.unwrap();
        assert!(matches(&unicode, &hash).await);
        let hash = passwords.hash(&secret("trailing ")).await.unwrap();
        assert!(!matches("trailing", &hash).await);
        let hash = passwords.hash(&secret("with\0null")).await.unwrap();
        assert!(!matches("with", &hash).await && !matches("with\0nul", &hash).await);
        assert!(matches("with\0null", &hash).await);
    }

    #[tokio::test]
    async fn common_passwords_are_refused() {
        for common in ["password", "PassWord", "12345678"] {
            assert!(Passwords::default().hash(&secret(common)).await.is_err(), "{common}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_renewed() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 1, 1, None).unwrap());
        let phc: Phc = argon2::password_hash::PasswordHasher::hash_password(&weak, b"correct horse").unwrap();
        let stored = secret(&phc.to_string());
        let compared = Passwords::default().compare(&secret("correct horse"), Some(stored)).await.unwrap();
        let renewed = compared.rehashed.unwrap();
        assert!(compared.matches && renewed.expose().contains("m=19456"));
        let compared = Passwords::default().compare(&secret("correct horse"), Some(renewed)).await.unwrap();
        assert!(compared.matches && compared.rehashed.is_none());
    }

    #[test]
    fn t33_nobody_costs_what_somebody_costs() {
        let phc = Phc::new(NOBODY).unwrap();
        assert!(!is_outdated(&phc) && phc.salt.is_some() && phc.hash.is_some());
        assert!(!compare(&secret("anything"), None, &mut Memory::new()).unwrap().matches);
    }
}
