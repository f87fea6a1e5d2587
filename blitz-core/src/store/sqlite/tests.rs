//! SQLite under real conditions: full disks, locked databases, files that are not ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::FutureExt as _;

use super::*;
use crate::error::ErrorCode;
use crate::store::conformance::{self, Hold, add, count};
use crate::store::sql::params;
use crate::store::{SqlValue, memory};

/// Names and bytes of everything in a folder. The shared index of a log is no content: whoever reads
/// the log may build it anew.
type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

fn snapshot(folder: &Path) -> Snapshot {
    let entries = std::fs::read_dir(folder).expect("the folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| match path.to_string_lossy().ends_with("-shm") {
            true => (path, Vec::new()),
            false => (path.clone(), std::fs::read(&path).expect("a file")),
        })
        .collect()
}

fn options(path: &Path) -> OpenOptions {
    OpenOptions { busy_limit: Duration::from_secs(10), ..OpenOptions::new(path.to_string_lossy()) }
}

fn new() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    (folder, path)
}

/// A store that was used and closed.
fn used() -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = new();
    let opened = open(&options(&path)).expect("a new store");
    opened.store.close();
    (folder, path)
}

fn raw(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).expect("it opens")
}

#[tokio::test]
async fn memory_passes_the_suite() {
    conformance::all(&memory().store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_passes_the_suite() {
    for durability in [Durability::Full, Durability::Process] {
        let (_folder, path) = new();
        let opened = open(&OpenOptions { durability, ..options(&path) }).expect("a new store");
        conformance::all(&opened.store).await;
    }
}

#[tokio::test]
async fn settings_are_what_durability_says() {
    for (durability, synchronous) in [(Durability::Full, 2), (Durability::Process, 1)] {
        let (_folder, path) = new();
        let store = open(&OpenOptions { durability, ..options(&path) }).expect("a new store").store;
        let settings = store.write(|tx| {
            let mut value = |sql| Ok::<_, Error>(tx.query_one(sql, &[])?.expect("a row").0.remove(0));
            Ok([value("PRAGMA synchronous")?, value("PRAGMA foreign_keys")?, value("PRAGMA journal_mode")?])
        });
        let expected = [SqlValue::Int(synchronous), SqlValue::Int(1), SqlValue::Text("wal".into())];
        assert_eq!(settings.await.expect("settings"), expected);
    }
}

#[tokio::test]
async fn a_store_is_the_same_when_opened_again() {
    let (folder, path) = new();
    let first = open(&options(&path)).expect("a new store");
    let sealed = first.keys.seal("secrets", 1, "key", b"plain");
    first.store.write(|tx| add(tx, "kept")).await.expect("a write");
    first.store.close();
    let (id, boot) = (first.store_id.clone(), first.boot.id().to_owned());
    drop(first);
    let left: Vec<_> = snapshot(folder.path()).into_keys().collect();
    assert_eq!(left, [path.clone(), folder.path().join("a.db.key")], "a clean end leaves the store and its key");

    let url = format!("sqlite:{}", path.display());
    let again = open(&OpenOptions::new(url)).expect("the store");
    assert_eq!(again.store_id, id);
    assert_ne!(again.boot.id(), boot);
    assert_eq!(again.keys.unseal("secrets", 1, "key", &sealed).expect("it opens"), b"plain");
    assert_eq!(count(&again.store, "kept").await, 1);
}

#[tokio::test]
async fn t59_no_key_lies_in_the_database_file() {
    let (folder, path) = new();
    let opened = open(&options(&path)).expect("a new store");
    let sealed = opened.keys.seal("secrets", 1, "key", b"sk-live-secret");
    let insert = move |tx: &mut dyn crate::store::Connection| {
        tx.execute("INSERT INTO secrets VALUES ('secrets', 1, 'key', 'k', ?1, 0)", params![sealed.clone()])
    };
    opened.store.write(insert).await.expect("a write");
    opened.store.close();
    let key = std::fs::read(folder.path().join("a.db.key")).expect("the key file");
    let file = std::fs::read(&path).expect("the database");
    for secret in [b"sk-live-secret".as_slice(), key.trim_ascii()] {
        assert!(!file.windows(secret.len()).any(|bytes| bytes == secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_before_the_commit() {
    let (_folder, path) = new();
    let store = open(&options(&path)).expect("a new store").store;
    // A slow machine may put the two writes into two groups, which shows nothing: then again.
    for _ in 0..50 {
        let before = count(&store, "told").await;
        let first = Hold::on(&store).await;
        let mut told = Box::pin(store.write(|tx| add(tx, "told")));
        let mut behind = Hold::queue(&store);
        first.release_after_a_group().await;
        behind.entered().await;
        let seen = count(&store, "told").await;
        let answer = (&mut told).now_or_never();
        if seen == before {
            assert!(answer.is_none(), "told before the commit");
        }
        behind.release().await;
        if seen == before {
            told.await.expect("a commit");
            assert_eq!(count(&store, "told").await, before + 1);
            return;
        }
    }
    panic!("the two writes never shared a group");
}

#[tokio::test]
async fn a_full_disk_fails_what_does_not_fit_and_work_goes_on_after() {
    let (_folder, path) = new();
    let store = open(&options(&path)).expect("a new store").store;
    store.write(|tx| add(tx, "small")).await.expect("a write");
    let big = |tx: &mut dyn crate::store::Connection| {
        let body = SqlValue::Blob(vec![7; 1 << 20]);
        tx.execute("INSERT INTO blobs (hash, body) VALUES ('big', ?1)", &[body])
    };
    // No smaller than the file is now, so nothing new fits.
    store.write(|tx| tx.query_one("PRAGMA max_page_count = 1", &[])).await.expect("a limit");

    let hold = Hold::on(&store).await;
    let small = || store.write(|tx| add(tx, "small"));
    let before = [small(), small(), small()];
    let swallowed = store.write(move |tx| big(tx).map_or_else(|_| Ok(()), |_| Ok(())));
    let too_big = store.write(big);
    let behind = [small(), small(), small()];
    hold.release().await;

    for write in before.into_iter().chain(behind) {
        write.await.expect("what fits is committed");
    }
    let error = too_big.await.expect_err("no space");
    assert_eq!(error.code(), ErrorCode::StorageFull);
    assert!(error.is_retryable());
    // Whoever hides the error is told all the same if the transaction is gone.
    let _ = swallowed.await;
    assert_eq!(count(&store, "small").await, 7);

    store.write(|tx| tx.query_one("PRAGMA max_page_count = 1000000", &[])).await.expect("space");
    store.write(big).await.expect("it fits now");
    store.write(|tx| add(tx, "small")).await.expect("a write");
    assert_eq!(count(&store, "small").await, 8);
}

/// SQLite may undo a whole transaction by itself, as it does at some failures of the disk; a closure
/// that hides the error must not make its siblings run outside of one.
#[tokio::test]
async fn a_transaction_that_sqlite_gives_up_takes_no_sibling_with_it() {
    let (_folder, path) = new();
    let store = open(&options(&path)).expect("a new store").store;
    let hold = Hold::on(&store).await;
    let before = store.write(|tx| add(tx, "sibling"));
    let given_up = store.write(|tx| {
        add(tx, "given up")?;
        tx.execute("ROLLBACK", &[])
    });
    let refused = store.write::<(), _>(|tx| add(tx, "given up").and(Err(Error::invalid("no"))));
    let behind = store.write(|tx| add(tx, "sibling"));
    hold.release().await;

    before.await.expect("a commit");
    assert_eq!(given_up.await.expect_err("nothing of it is there").code(), ErrorCode::Storage);
    assert_eq!(refused.await.expect_err("a refusal").code(), ErrorCode::InvalidInput);
    behind.await.expect("a commit");
    assert_eq!(count(&store, "sibling").await, 2);
    assert_eq!(count(&store, "given up").await, 0);
}

#[tokio::test]
async fn a_database_held_elsewhere_is_an_error_after_the_limit() {
    let (_folder, path) = new();
    let limit = Duration::from_millis(60);
    let store = open(&OpenOptions { busy_limit: limit, ..options(&path) }).expect("a new store").store;
    let holder = raw(&path);
    holder.execute_batch("BEGIN IMMEDIATE").expect("the lock");

    let started = std::time::Instant::now();
    let writes: Vec<_> = (0..20).map(|_| store.write(|tx| add(tx, "held"))).collect();
    for write in writes {
        let error = write.await.expect_err("held");
        assert_eq!(error.code(), ErrorCode::Storage);
        assert!(error.to_string().contains("another process holds the database"), "{error}");
    }
    assert!(started.elapsed() >= limit);
    assert_eq!(count(&store, "held").await, 0, "reads go on");

    holder.execute_batch("ROLLBACK").expect("the lock is let go");
    store.write(|tx| add(tx, "held")).await.expect("writes go on");
}

#[tokio::test]
async fn a_write_waits_for_a_short_holder() {
    let (_folder, path) = new();
    let store = open(&options(&path)).expect("a new store").store;
    let holder = raw(&path);
    holder.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let write = store.write(|tx| add(tx, "waited"));
    std::thread::sleep(Duration::from_millis(30));
    holder.execute_batch("COMMIT").expect("the lock is let go");
    write.await.expect("it gets its turn");
}

#[test]
fn opening_a_database_held_alone_is_an_error_after_the_limit() {
    let (folder, path) = used();
    let holder = raw(&path);
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").expect("the lock");
    let before: Vec<_> = snapshot(folder.path()).into_keys().collect();
    let limit = Duration::from_millis(60);
    let error = open(&OpenOptions { busy_limit: limit, ..options(&path) }).err().expect("held");
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(error.to_string().contains("another process holds the database"), "{error}");
    assert_eq!(snapshot(folder.path()).into_keys().collect::<Vec<_>>(), before);
}

#[test]
fn a_store_outlives_a_second_opening_in_the_same_process() {
    let (_folder, path) = new();
    let first = open(&options(&path)).expect("a new store");
    let second = open(&options(&path)).expect("the same store");
    assert_eq!(first.store_id, second.store_id);
    assert!(first.boot.is_alive(second.boot.id()));
    second.store.close();
    drop(second);
    // The locks of the first are still there: an exclusive holder is kept out.
    let other = raw(&path);
    other.busy_timeout(Duration::ZERO).expect("a setting");
    let exclusive = other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE");
    assert!(exclusive.is_err());
}

#[test]
fn a_job_may_hold_the_last_handle_on_the_store() {
    struct Last {
        store: Store,
        _told_when_dropped: std::sync::mpsc::Sender<()>,
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    let store = memory().store;
    let last = Last { store: store.clone(), _told_when_dropped: sender };
    let answer = store.write(move |_| {
        let whole = &last;
        Ok(Arc::strong_count(&whole.store.backend))
    });
    drop((store, answer));
    // The writer drops the job and the store with it, on its own thread: it must not wait for itself.
    let end = dropped.recv_timeout(Duration::from_secs(30));
    assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn urls_that_name_no_database_are_refused() {
    for (url, word) in [
        ("", "empty"),
        ("sqlite:", "empty"),
        ("postgres://localhost/blitz", "later version"),
        ("postgresql://localhost/blitz", "later version"),
        ("mysql://localhost", "not known"),
        ("a\0b", "zero byte"),
        ("..", "not a file"),
    ] {
        let error = open(&OpenOptions::new(url)).err().expect(url);
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{url}");
        assert!(error.to_string().contains(word), "{url}: {error}");
    }
    assert!(open(&OpenOptions::new("sqlite::memory:")).is_ok());
}

#[test]
fn names_with_signs_of_a_url_are_plain_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a%20b?c#d.db", "ä b.db", "file:x.db", "-"] {
        let path = folder.path().join(name);
        let id = open(&options(&path)).expect(name).store_id;
        assert!(path.is_file());
        assert_eq!(open(&options(&path)).expect(name).store_id, id);
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_folder, path) = new();
    std::fs::write(&path, "").expect("a file");
    open(&options(&path)).expect("a new store");
}

#[cfg(unix)]
#[test]
fn a_link_leads_to_one_store_with_one_set_of_neighbours() {
    let (folder, path) = used();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let (direct, linked) = (open(&options(&path)).expect("the store"), open(&options(&link)).expect("the store"));
    assert!(direct.boot.is_alive(linked.boot.id()));
    assert_eq!(snapshot(elsewhere.path()).len(), 1);
    drop((direct, linked, folder));
    let error = open(&options(&link)).err().expect("a link to nothing");
    assert_eq!(error.code(), ErrorCode::InvalidInput);
}

#[test]
fn a_new_store_takes_the_key_that_lies_there() {
    let (folder, path) = used();
    let keys = open(&options(&path)).expect("the store").keys;
    std::fs::remove_file(&path).expect("the database is gone");
    let again = open(&options(&path)).expect("a new store");
    assert_eq!(again.keys.key_id(), keys.key_id());
    drop((folder, again));
}

#[test]
fn a_host_key_leaves_no_key_file() {
    let (folder, path) = new();
    let key = Secret::new(&"5a".repeat(32));
    let with_key = OpenOptions { master_key: Some(key), ..options(&path) };
    open(&with_key).expect("a new store").store.close();
    open(&with_key).expect("the same store").store.close();
    assert_eq!(snapshot(folder.path()).len(), 1);
    refused(&folder, &options(&path), ErrorCode::Storage, "key file");
    let wrong = OpenOptions { master_key: Some(Secret::new(&"5b".repeat(32))), ..options(&path) };
    refused(&folder, &wrong, ErrorCode::Storage, "not the one");
    let malformed = OpenOptions { master_key: Some(Secret::new("5b")), ..options(&path) };
    refused(&folder, &malformed, ErrorCode::InvalidInput, "32 bytes");
}

/// Opening fails in words, and not a byte on disk has changed.
fn refused(folder: &tempfile::TempDir, options: &OpenOptions, code: ErrorCode, word: &str) {
    let before = snapshot(folder.path());
    let error = open(options).err().unwrap_or_else(|| panic!("{word}: it opened"));
    assert_eq!(error.code(), code, "{word}: {error}");
    assert!(error.to_string().contains(word), "{word}: {error}");
    assert!(!error.chain().contains("SELECT"), "{error}");
    let after = snapshot(folder.path());
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{word}");
    assert!(after == before, "{word}: a file has changed");
}

#[test]
fn a_missing_or_damaged_key_file_is_refused() {
    let (folder, path) = used();
    let key = folder.path().join("a.db.key");
    let kept = std::fs::read(&key).expect("the key file");
    for (bytes, word) in [
        (None, "is missing"),
        (Some(b"".to_vec()), "is damaged"),
        (Some(b"not a key".to_vec()), "is damaged"),
        (Some(vec![0xff; 64]), "cannot be read"),
        (Some(b"ab".repeat(32)), "not the one"),
    ] {
        match bytes {
            Some(bytes) => std::fs::write(&key, bytes).expect("a file"),
            None => std::fs::remove_file(&key).expect("a file"),
        }
        refused(&folder, &options(&path), ErrorCode::Storage, word);
    }
    std::fs::write(&key, kept).expect("a file");
    open(&options(&path)).expect("with its key it opens");
}

#[test]
fn files_that_are_not_ours_are_refused_untouched() {
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let magic = [b"SQLite format 3\0".as_slice(), &noise].concat();
    for (bytes, word) in [
        (b"hello".to_vec(), "not a database"),
        (vec![0; 4096], "not a database"),
        (noise, "not a database"),
        (magic, "not a database"),
    ] {
        let (folder, path) = new();
        std::fs::write(&path, bytes).expect("a file");
        refused(&folder, &options(&path), ErrorCode::Storage, word);
    }
    for (sql, word) in [
        ("CREATE TABLE notes (text)", "another program"),
        ("PRAGMA user_version = 7", "another program"),
        ("PRAGMA application_id = 77; CREATE TABLE notes (text)", "another program"),
        ("PRAGMA journal_mode = WAL; CREATE TABLE notes (text)", "another program"),
        ("PRAGMA journal_mode = PERSIST; CREATE TABLE notes (text)", "another program"),
    ] {
        let (folder, path) = new();
        raw(&path).execute_batch(sql).expect("a database");
        refused(&folder, &options(&path), ErrorCode::Storage, word);
    }
}

#[test]
fn t74_a_newer_store_is_refused_untouched() {
    let (folder, path) = used();
    raw(&path).pragma_update(None, "user_version", 99).expect("a newer version");
    refused(&folder, &options(&path), ErrorCode::Storage, "schema 99");

    // The same while the news is in the log only, as a process that died leaves it.
    let (folder, path) = used();
    let (crashed, copy) = new();
    let writer = raw(&path);
    writer.pragma_update(None, "user_version", 99).expect("a newer version");
    for suffix in ["", "-wal", "-shm", ".key"] {
        std::fs::copy(beside(&path, suffix), beside(&copy, suffix)).expect("a copy");
    }
    refused(&crashed, &options(&copy), ErrorCode::Storage, "schema 99");
    drop(folder);
}

#[test]
fn damaged_stores_are_refused_untouched() {
    let whole = |damage: &dyn Fn(&mut Vec<u8>)| {
        let (folder, path) = used();
        let mut bytes = std::fs::read(&path).expect("the database");
        damage(&mut bytes);
        std::fs::write(&path, bytes).expect("a file");
        (folder, path)
    };
    let (folder, path) = whole(&|bytes| bytes.truncate(bytes.len() / 2));
    refused(&folder, &options(&path), ErrorCode::Storage, "damaged");
    let (folder, path) = whole(&|bytes| bytes[16] = 3);
    refused(&folder, &options(&path), ErrorCode::Storage, "not a database");
    let (folder, path) = whole(&|bytes| bytes[100..400].fill(0xee));
    refused(&folder, &options(&path), ErrorCode::Storage, "damaged");
    let (folder, path) = whole(&|bytes| bytes[4096..].fill(0));
    refused(&folder, &options(&path), ErrorCode::Storage, "damaged");
}

#[test]
fn places_that_cannot_be_are_refused() {
    let (folder, path) = used();
    refused(&folder, &options(folder.path()), ErrorCode::InvalidInput, "not a file");
    refused(&folder, &options(&folder.path().join("none/a.db")), ErrorCode::InvalidInput, "is missing");
    refused(&folder, &options(&path.join("b.db")), ErrorCode::InvalidInput, "through a file");

    let read_only = |path: &Path, is: bool| {
        let mut rights = path.metadata().expect("it is there").permissions();
        rights.set_readonly(is);
        std::fs::set_permissions(path, rights).expect("other rights");
    };
    read_only(&path, true);
    refused(&folder, &options(&path), ErrorCode::Storage, "read-only");
    read_only(&path, false);
    read_only(folder.path(), true);
    refused(&folder, &options(&path), ErrorCode::Storage, "read-only");
    refused(&folder, &options(&folder.path().join("new.db")), ErrorCode::Storage, "read-only");
    read_only(folder.path(), false);
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_is_deleted_under_the_engine_is_told_and_nothing_is_called_kept() {
    let (_folder, path) = new();
    let opened = open(&options(&path)).expect("a new store");
    opened.store.write(|tx| add(tx, "before")).await.expect("it is kept");
    // As the last of another SQLite library does when it closes the file.
    raw(&path).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("the log is folded in");
    std::fs::remove_file(beside(&path, "-wal")).expect("the log");
    for _ in 0..2 {
        let refused = opened.store.write(|tx| add(tx, "behind")).await.expect_err("it is not kept");
        assert_eq!(refused.code(), ErrorCode::Storage);
        assert!(refused.to_string().contains("another SQLite library"), "{refused}");
    }
    opened.store.close();
    let again = open(&options(&path)).expect("the store");
    assert_eq!((count(&again.store, "before").await, count(&again.store, "behind").await), (1, 0));
}
