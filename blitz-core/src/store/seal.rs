//! Secrets at rest: sealed values and the keys derived for them.
//!
//! One master key of 32 bytes, from the host or from the file `<db>.key`; every use has a key of its
//! own, derived by HKDF-SHA256. This protects against readers of the database file, not of the folder.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::beside;
use crate::domain::Secret;
use crate::error::{Error, Result};
pub(crate) use keyring::{KeyChange, KeyState, Keys};

mod keyring;

/// The key all others come from. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Reads a key of 32 bytes: 64 hex digits, or base64 of the standard alphabet.
    pub(crate) fn parse(secret: &Secret) -> Result<Self> {
        let text = secret.expose().trim();
        let bytes = Zeroizing::new(if text.len() == 64 { unhex(text) } else { BASE64.decode(text).ok() });
        match bytes.as_deref().map(<[u8; 32]>::try_from) {
            Some(Ok(key)) => Ok(Self(Zeroizing::new(key))),
            _ => Err(Error::invalid("the master key must be 32 bytes, as 64 hex digits or as base64")),
        }
    }

    /// A new key.
    pub(crate) fn random() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// What the key is known by.
    pub(crate) fn id(&self) -> String {
        Keys::derive(self).key_id()
    }
}

/// Where the master key comes from.
pub(crate) enum KeySource {
    Host(MasterKey),
    File(PathBuf),
}

impl KeySource {
    /// The keys of a store that says this of them. Changes nothing.
    ///
    /// Errors: `storage` if the key is missing, damaged or another one.
    pub(crate) fn open(&self, state: &KeyState) -> Result<Keys> {
        let wrong =
            || Error::storage("the master key is not the one this database was sealed with: give the right one");
        match self {
            Self::Host(key) => {
                let mut keys = Keys::open(key, state)?.ok_or_else(wrong)?;
                // With the coming key in hand the host can open the store after the change: it may go on.
                keys.resumes = state.change.as_ref().is_some_and(|change| change.next_id == key.id());
                Ok(keys)
            }
            Self::File(path) => {
                let present = read_key(path)?;
                let missing = present.is_none();
                for key in [present, read_key(&next_file(path))?].into_iter().flatten() {
                    if let Some(mut keys) = Keys::open(&key, state)? {
                        keys.file = Some(path.clone());
                        keys.resumes = true;
                        return Ok(keys);
                    }
                }
                match missing {
                    true => Err(Error::storage(format!(
                        "the key file {} is missing: put it back, or give the master key",
                        path.display()
                    ))),
                    false => Err(wrong()),
                }
            }
        }
    }

    /// The keys of a new store; makes the key file if there is none.
    pub(crate) fn create(&self) -> Result<Keys> {
        match self {
            Self::Host(key) => Ok(Keys::derive(key)),
            Self::File(path) => read_or_create_key(path).map(|key| Keys::derive(&key)),
        }
    }
}

/// Where the coming key stands until it is the store's.
fn next_file(path: &Path) -> PathBuf {
    beside(path, ".next")
}

/// Writes the coming key beside the present one, durably.
fn write_next(path: &Path, key: &MasterKey) -> Result<()> {
    let draft = beside(path, &format!(".{}", hex(&random::<8>())));
    let written = write_key(&draft, key).and_then(|()| std::fs::rename(&draft, next_file(path)));
    written.and_then(|()| sync_folder(path)).map_err(|cause| {
        Error::storage(format!("the new key cannot be written beside {}", path.display())).with_source(cause)
    })
}

/// Makes the coming key the present one, where it is not yet.
fn adopt_next(path: &Path) -> Result<()> {
    match std::fs::rename(next_file(path), path) {
        Ok(()) => sync_folder(path),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
    .map_err(|cause| Error::storage(format!("the key file {} cannot be replaced", path.display())).with_source(cause))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<Option<MasterKey>> {
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => MasterKey::parse(&Secret::new(&text))
            .map(Some)
            .map_err(|_| Error::storage(format!("the key file {} is damaged: put the right one back", path.display()))),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::storage(format!("the key file {} cannot be read", path.display())).with_source(cause)),
    }
}

/// Reads the key file or makes it. It appears whole or not at all, and the first one stays: who
/// comes second reads it again.
fn read_or_create_key(path: &Path) -> Result<MasterKey> {
    if let Some(key) = read_key(path)? {
        return Ok(key);
    }
    let draft = beside(path, &format!(".{}", hex(&random::<8>())));
    let written = write_key(&draft, &MasterKey::random()).and_then(|()| publish(&draft, path));
    let _ = std::fs::remove_file(&draft);
    written.map_err(|cause| {
        Error::storage(format!("the key file {} cannot be written", path.display())).with_source(cause)
    })?;
    read_key(path)?.ok_or_else(|| Error::storage("the key file vanished while the database was created"))
}

fn write_key(path: &Path, key: &MasterKey) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let text = Zeroizing::new(hex(&*key.0) + "\n");
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives the draft its name unless the name is taken, and makes that durable.
fn publish(draft: &Path, path: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Ok(()),
        // No links on this file system. The caller holds the database's write lock, so nobody
        // else is making a key.
        Err(_) => std::fs::rename(draft, path)?,
    }
    sync_folder(path)
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::*;
    use crate::error::ErrorCode;

    /// The bytes of a nonce, in front of what is sealed.
    const NONCE: usize = 24;

    fn keys() -> Keys {
        Keys::derive(&MasterKey(Zeroizing::new([7; 32])))
    }

    #[test]
    fn what_is_sealed_opens_in_its_place() {
        let keys = keys();
        for plain in [b"sk-secret".as_slice(), b"", &[0; 70_000]] {
            let sealed = keys.seal("secrets", 1, "key", plain);
            assert_eq!(keys.unseal("secrets", 1, "key", &sealed).expect("it opens"), plain);
            assert_ne!(sealed, keys.seal("secrets", 1, "key", plain), "no nonce comes twice");
        }
    }

    #[test]
    fn t59_a_sealed_value_is_unreadable_and_opens_nowhere_else() {
        let keys = keys();
        let sealed = keys.seal("secrets", 1, "key", b"sk-secret");
        assert!(!sealed.windows(9).any(|bytes| bytes == b"sk-secret"));
        for (table, row, column) in [("secrets", 2, "key"), ("users", 1, "key"), ("secrets", 1, "hash"), ("", 1, "")] {
            let error = keys.unseal(table, row, column, &sealed).expect_err("another place");
            assert_eq!(error.code(), ErrorCode::Storage);
        }
        for position in [0, NONCE, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(keys.unseal("secrets", 1, "key", &changed).is_err(), "byte {position} was changed");
        }
        for length in [0, NONCE - 1, NONCE, sealed.len() - 1] {
            assert!(keys.unseal("secrets", 1, "key", &sealed[..length]).is_err(), "cut to {length} bytes");
        }
        let other = Keys::derive(&MasterKey(Zeroizing::new([8; 32])));
        assert!(other.unseal("secrets", 1, "key", &sealed).is_err());
    }

    #[test]
    fn keys_never_change_from_one_release_to_the_next() {
        let keys = keys();
        assert_eq!(keys.key_id(), "b073f3b1d9693985a22c36c470efe993");
        assert_eq!(hex(&hmac::sign(&keys.audit_key(), b"x").as_ref()[..8]), "8ccff29bfc852ac0");
        let sealed = concat!(
            "58a5ecb4e6b9955fd9fa862f965626651fff6f57ec180916",
            "3aaca28102d663cf5cd7ab4d3638a553f8d67323b5c0",
        );
        let sealed = unhex(sealed).expect("hex");
        assert_eq!(keys.unseal("secrets", 1, "key", &sealed).expect("it opens"), b"golden");
    }

    #[test]
    fn a_master_key_is_read_from_hex_or_base64() {
        let id = |text: &str| MasterKey::parse(&Secret::new(text)).map(|key| key.id());
        let expected = keys().key_id();
        assert_eq!(id(&"07".repeat(32)).expect("hex"), expected);
        assert_eq!(id(&format!("  {}\n", "07".repeat(32))).expect("hex with space around it"), expected);
        assert_eq!(id(&BASE64.encode([7; 32])).expect("base64"), expected);
        for wrong in ["", "07", &"0g".repeat(32), &"07".repeat(33), &BASE64.encode([7; 31]), &"é".repeat(32)] {
            let error = id(wrong).expect_err("not a key");
            assert_eq!(error.code(), ErrorCode::InvalidInput);
            assert!(wrong.is_empty() || !error.chain().contains(wrong), "the error repeats the key");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", keys());
        assert_eq!(shown, format!("Keys({})", keys().key_id()));
    }

    #[test]
    fn many_who_make_the_key_file_at_once_get_the_same_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db.key");
        let start = std::sync::Barrier::new(8);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        KeySource::File(path.clone()).create().expect("a key").key_id()
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "drafts are gone");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("the file").permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
