//! The keys of a store, and how another master key takes their place.
//!
//! A change of the master key begins with one transaction that seals either key under the other, so
//! that whoever has one has both. Then values are sealed anew, a few at a time. One last transaction
//! makes the new key the store's. Whatever ends the process between: either key opens the store, and
//! the change goes on. The keys of the audit chain and of API keys stay: they are carried along, sealed.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{MasterKey, hex, random};
use crate::error::{Error, Result};

const NONCE: usize = 24;

/// The bytes of the keys that outlive a master key.
const CARRIED: usize = 64;

/// What a store says of its keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct KeyState {
    /// Which master key its secrets are sealed under.
    pub(crate) key_id: String,
    /// The keys of audit and API keys, where they are not derived from this master key.
    pub(crate) carried: Option<String>,
    /// The change of the master key that is under way.
    pub(crate) change: Option<KeyChange>,
}

/// Both ends of a change of the master key, each sealed under the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyChange {
    /// Which key is coming.
    pub(crate) next_id: String,
    /// The coming key under the present one.
    pub(crate) next: String,
    /// The present key under the coming one.
    pub(crate) previous: String,
}

/// The keys of a store: one for each use.
pub(crate) struct Keys {
    sealing: RwLock<Sealing>,
    carried: Zeroizing<[u8; CARRIED]>,
    audit: hmac::Key,
    api_keys: hmac::Key,
    /// The file that keeps the master key; `None` where the host does.
    pub(super) file: Option<PathBuf>,
    /// Whether whoever opened the store can open it behind the change too, so that it may go on by itself.
    pub(super) resumes: bool,
}

/// What values are sealed with, and during a change what they were sealed with before.
#[derive(Clone)]
struct Sealing {
    current: Arc<Sub>,
    previous: Option<Arc<Sub>>,
}

/// A master key with what is derived from it for sealing.
struct Sub {
    master: MasterKey,
    cipher: XChaCha20Poly1305,
    id: String,
}

impl Sub {
    fn new(master: &MasterKey) -> Self {
        let derived = derive(master);
        Self {
            master: master.clone(),
            cipher: XChaCha20Poly1305::new((&*derived(b"sealing")).into()),
            id: hex(&derived(b"key id")[..16]),
        }
    }

    fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE>();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place })
            .expect("a value in memory is shorter than the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    fn unseal(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
    }

    /// Opens what stands in the store's own lines.
    fn unseal_info(&self, name: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = BASE64.decode(sealed).ok()?;
        self.unseal(&place("store_info", 0, name), &sealed).map(Zeroizing::new)
    }

    fn seal_info(&self, name: &str, plain: &[u8]) -> String {
        BASE64.encode(self.seal(&place("store_info", 0, name), plain))
    }
}

impl Keys {
    /// The keys of a new store.
    pub(super) fn derive(master: &MasterKey) -> Self {
        let carried = carried_of(master);
        Self::with(Sealing { current: Arc::new(Sub::new(master)), previous: None }, carried)
    }

    /// The keys of a store whose state is known; `None` where this master key is another one.
    pub(super) fn open(master: &MasterKey, state: &KeyState) -> Result<Option<Self>> {
        let given = Arc::new(Sub::new(master));
        let damaged = || Error::storage("the keys of this database are damaged: restore a backup");
        let master_of = |bytes: Option<Zeroizing<Vec<u8>>>| {
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
            bytes.map(MasterKey).ok_or_else(damaged)
        };
        let sealing = match &state.change {
            None if given.id == state.key_id => Sealing { current: given, previous: None },
            Some(change) if given.id == state.key_id => {
                let next = master_of(given.unseal_info("next_key", &change.next))?;
                Sealing { current: Arc::new(Sub::new(&next)), previous: Some(given) }
            }
            Some(change) if given.id == change.next_id => {
                let previous = master_of(given.unseal_info("previous_key", &change.previous))?;
                Sealing { current: given, previous: Some(Arc::new(Sub::new(&previous))) }
            }
            _ => return Ok(None),
        };
        // What is carried is sealed under the store's key, which is the previous one during a change.
        let stores = sealing.previous.as_ref().unwrap_or(&sealing.current);
        let carried = match &state.carried {
            None => carried_of(&stores.master),
            Some(sealed) => {
                let bytes = stores.unseal_info("carried_keys", sealed).ok_or_else(damaged)?;
                Zeroizing::new(<[u8; CARRIED]>::try_from(bytes.as_slice()).map_err(|_| damaged())?)
            }
        };
        Ok(Some(Self::with(sealing, carried)))
    }

    fn with(sealing: Sealing, carried: Zeroizing<[u8; CARRIED]>) -> Self {
        Self {
            sealing: RwLock::new(sealing),
            audit: hmac::Key::new(hmac::HMAC_SHA256, &carried[..32]),
            api_keys: hmac::Key::new(hmac::HMAC_SHA256, &carried[32..]),
            carried,
            file: None,
            resumes: false,
        }
    }

    fn sealing(&self) -> Sealing {
        self.sealing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seals a value for one place: only there it can be opened again.
    pub(crate) fn seal(&self, table: &str, row: i64, column: &str, plain: &[u8]) -> Vec<u8> {
        self.sealing().current.seal(&place(table, row, column), plain)
    }

    /// Opens a sealed value.
    ///
    /// Errors: `storage` if it was changed, moved from another place or sealed under another key.
    pub(crate) fn unseal(&self, table: &str, row: i64, column: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let place = place(table, row, column);
        let Sealing { current, previous } = self.sealing();
        current.unseal(&place, sealed).or_else(|| previous?.unseal(&place, sealed)).ok_or_else(|| {
            Error::storage(
                "a sealed value cannot be opened: it was changed, moved or sealed under another key; if the master key \
                 was changed by another process, open the engine again",
            )
        })
    }

    /// The key of the audit trail's chain.
    pub(crate) fn audit_key(&self) -> hmac::Key {
        self.audit.clone()
    }

    /// The key under which API keys are kept.
    pub(crate) fn api_keys(&self) -> &hmac::Key {
        &self.api_keys
    }

    /// Which master key values are sealed under: a hash that gives nothing of it away.
    pub(crate) fn key_id(&self) -> String {
        self.sealing().current.id.clone()
    }

    /// Which master key values are still sealed under during a change.
    pub(crate) fn previous_id(&self) -> Option<String> {
        self.sealing().previous.map(|previous| previous.id.clone())
    }

    /// Whether the host keeps the master key, and not a file.
    pub(crate) fn are_the_hosts(&self) -> bool {
        self.file.is_none()
    }

    /// Whether a change that was broken off goes on by itself.
    pub(crate) fn resumes(&self) -> bool {
        self.resumes
    }

    /// What the store is to say of a change to another master key.
    pub(crate) fn change_to(&self, next: &MasterKey) -> KeyChange {
        let (present, next) = (self.sealing().current, Sub::new(next));
        KeyChange {
            next: present.seal_info("next_key", &*next.master.0),
            previous: next.seal_info("previous_key", &*present.master.0),
            next_id: next.id,
        }
    }

    /// Seals with another master key from now on, and opens what is sealed with either.
    pub(crate) fn begin_change(&self, next: &MasterKey) {
        let mut sealing = self.sealing.write().unwrap_or_else(PoisonError::into_inner);
        let previous = Arc::clone(&sealing.current);
        *sealing = Sealing { current: Arc::new(Sub::new(next)), previous: Some(previous) };
    }

    /// What is carried along under the new master key.
    pub(crate) fn carried(&self) -> String {
        self.sealing().current.seal_info("carried_keys", &*self.carried)
    }

    /// Writes the new key beside the key file, before the store is made to need it.
    pub(crate) fn write_next_file(&self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        super::write_next(path, &self.sealing().current.master)
    }

    /// Forgets the key before, once nothing is sealed with it any more.
    pub(crate) fn end_change(&self) -> Result<()> {
        self.sealing.write().unwrap_or_else(PoisonError::into_inner).previous = None;
        self.file.as_ref().map_or(Ok(()), |path| super::adopt_next(path))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.key_id())
    }
}

/// Derives keys for uses: HKDF-SHA256 with a name for each.
fn derive(master: &MasterKey) -> impl Fn(&[u8]) -> Zeroizing<[u8; 32]> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"blitz keys 1");
    let source = salt.extract(&*master.0);
    move |purpose: &[u8]| {
        let mut key = Zeroizing::new([0; 32]);
        source
            .expand(&[purpose], hkdf::HKDF_SHA256)
            .and_then(|output| output.fill(&mut *key))
            .expect("HKDF gives the length of its own hash");
        key
    }
}

fn carried_of(master: &MasterKey) -> Zeroizing<[u8; CARRIED]> {
    let derived = derive(master);
    let mut carried = Zeroizing::new([0; CARRIED]);
    carried[..32].copy_from_slice(&*derived(b"audit"));
    carried[32..].copy_from_slice(&*derived(b"api keys"));
    carried
}

/// The place of a value as associated data. No name holds a zero byte, so places never look alike.
fn place(table: &str, row: i64, column: &str) -> Vec<u8> {
    [table.as_bytes(), &[0], &row.to_be_bytes(), column.as_bytes()].concat()
}
