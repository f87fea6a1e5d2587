//! Databases that are locked, full, read-only, damaged or not ours: a clear error, and nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::{Engine, ErrorCode, ExecutionStatus, ListOptions, NewModel, Session};

use super::code;
use crate::support::disk::SmallDisk;
use crate::support::engine::{agent, priced};
use crate::support::folder::Folder;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn url(path: &Path) -> String {
    path.display().to_string()
}

/// A database with a model in it, closed.
async fn made() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let engine = Engine::open(url(&path)).await.unwrap();
    engine.root("test").models().put(priced("m")).await.unwrap();
    engine.close().await.unwrap();
    (folder, path)
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Opens what must be refused with this code, and checks that nothing in its folder has changed.
async fn refused(path: &Path, expected: ErrorCode, words: &str) {
    let folder = path.parent().unwrap();
    let before = contents(folder);
    let error = Engine::open(url(path)).await.map(drop).expect_err(words);
    assert_eq!(error.code(), expected, "{error}");
    assert!(error.chain().contains(words), "the message says {words:?}: {}", error.chain());
    assert!(contents(folder) == before, "opening changed the folder of {}", path.display());
}

fn sql(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

/// Takes the write lock of a database and keeps it.
fn lock(path: &Path) -> rusqlite::Connection {
    let holder = sql(path);
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    holder
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    for bytes in [b"To be or not to be".as_slice(), &[0; 4096], &[0xff; 100_000], b"SQLite format 3\0garbage"] {
        let folder = Folder::new();
        let path = folder.path().join("blitz.db");
        fs::write(&path, bytes).unwrap();
        refused(&path, ErrorCode::Storage, "blitz.db").await;
    }
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let folder = Folder::new();
    let path = folder.path().join("other.db");
    sql(&path).execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)").unwrap();
    refused(&path, ErrorCode::Storage, "another program").await;
}

#[tokio::test]
async fn t74_a_newer_schema_is_refused() {
    let (_folder, path) = made().await;
    sql(&path).pragma_update(None, "user_version", 999).unwrap();
    refused(&path, ErrorCode::Storage, "newer version").await;
}

#[tokio::test]
async fn t74_the_file_of_a_differing_build_is_refused() {
    let (_folder, path) = made().await;
    sql(&path).execute_batch("UPDATE schema_migrations SET checksum = 'other'").unwrap();
    refused(&path, ErrorCode::Storage, "differing build").await;
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 3] =
        [|bytes| bytes.truncate(5_000), |bytes| bytes[100..4_096].fill(0xa5), |bytes| bytes[16..100].fill(0)];
    for damage in damages {
        let (_folder, path) = made().await;
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        refused(&path, ErrorCode::Storage, "blitz.db").await;
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_told_by_the_call_that_meets_it() {
    let (_folder, path) = made().await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let met = match Engine::open(url(&path)).await {
        Err(error) => error.code(),
        Ok(engine) => code(engine.root("test").models().list(ListOptions::default()).await),
    };
    assert_eq!(met, ErrorCode::Storage);
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_refused_before_anything_changes() {
    let (_folder, path) = made().await;
    let key = path.with_file_name("blitz.db.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    refused(&path, ErrorCode::Storage, "key").await;
    fs::write(&key, KEY).unwrap();
    refused(&path, ErrorCode::Storage, "key").await;
    fs::write(&key, "no key").unwrap();
    assert!(matches!(code(Engine::open(url(&path)).await), ErrorCode::Storage | ErrorCode::InvalidInput));
    let other = Engine::builder(url(&path)).with_master_key(KEY).open().await;
    assert_eq!(code(other), ErrorCode::Storage);
    assert_eq!(code(Engine::builder(":memory:").with_master_key("short").open().await), ErrorCode::InvalidInput);
    fs::write(&key, kept).unwrap();
    Engine::open(url(&path)).await.unwrap();
}

#[tokio::test]
async fn a_place_where_no_database_can_be_is_the_callers_mistake() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let inside = |name: &str| url(&folder.path().join(name));
    for place in [
        String::new(),
        "sqlite:".into(),
        "postgres://localhost/blitz".into(),
        "mysql://localhost/blitz".into(),
        inside(""),
        inside("missing/blitz.db"),
        inside("file/blitz.db"),
        "a\0b".into(),
    ] {
        assert_eq!(code(Engine::open(&place).await), ErrorCode::InvalidInput, "{place:?}");
    }
    assert_eq!(contents(folder.path()).len(), 1);
}

#[tokio::test]
#[cfg(unix)]
async fn a_read_only_folder_or_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (folder, path) = made().await;
    mode(&path, 0o444);
    refused(&path, ErrorCode::Storage, "read-only").await;
    mode(&path, 0o644);
    mode(folder.path(), 0o555);
    refused(&path, ErrorCode::Storage, "read-only").await;
    refused(&folder.path().join("new.db"), ErrorCode::Storage, "read-only").await;
    mode(folder.path(), 0o755);
    Engine::open(url(&path)).await.unwrap();
}

#[tokio::test]
async fn a_locked_database_is_told_after_the_wait_and_opens_once_it_is_free() {
    let (folder, path) = made().await;
    let fresh = folder.path().join("fresh.db");
    let holder = lock(&fresh);
    let open = |path: &Path| Engine::builder(url(path)).with_busy_limit(Duration::from_millis(50)).open();
    let error = open(&fresh).await.map(drop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(error.to_string().contains("another process holds the database"), "{error}");
    drop(holder);
    open(&fresh).await.unwrap();

    let engine = open(&path).await.unwrap();
    let me = engine.root("test");
    let holder = lock(&path);
    assert_eq!(code(me.models().put(priced("n")).await), ErrorCode::Storage);
    drop(holder);
    me.models().put(priced("n")).await.unwrap();
    assert!(me.models().get("m").await.is_ok());
}

/// An engine on a file whose provider answers once it is let.
async fn waiting(path: &Path) -> (Engine, Session, std::sync::Arc<tokio::sync::Semaphore>) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = std::sync::Arc::clone(&gate);
    let provider = Scripted::from_fn(|request| match request.messages.len() {
        2 => Reply::tool_call("wait", serde_json::json!({})),
        _ => Reply::text("done"),
    });
    let asks = Scripted::from_fn(|request| match request.messages.len() {
        2 => Reply::tool_call("a", serde_json::json!({"input": "x"})),
        _ => Reply::text("the child said done"),
    });
    let builder = Engine::builder(url(path)).with_provider(provider).with_provider(asks.named("asks"));
    let engine = builder.with_busy_limit(Duration::from_millis(50)).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(priced("m")).await.unwrap();
    let wait = blitz::tool_fn!("wait", "", move |_: ()| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    me.tools().register(wait.pure()).await.unwrap();
    me.agents().put(agent("a", &["wait"])).await.unwrap();
    (engine, me, opened)
}

#[tokio::test]
async fn an_execution_that_meets_a_locked_database_waits_and_goes_on_by_itself() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let (engine, me, gate) = waiting(&path).await;
    let handle = me.start("a", "x").await.unwrap();
    while me.executions().steps(handle.id(), ListOptions::default()).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let holder = lock(&path);
    gate.add_permits(1);
    // Longer than any one write waits.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(holder);

    let done = tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("it goes on").unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
    assert_eq!(engine.recover().await.unwrap(), [], "it had not stopped");
}

#[tokio::test]
async fn a_closing_engine_does_not_wait_for_a_locked_database() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let (engine, me, gate) = waiting(&path).await;
    let handle = me.start("a", "x").await.unwrap();
    while me.executions().steps(handle.id(), ListOptions::default()).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let holder = lock(&path);
    gate.add_permits(1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let closing = tokio::spawn(async move { engine.close_within(Duration::ZERO).await });
    assert!(tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("it is left").is_err());
    drop(holder);
    tokio::time::timeout(Duration::from_secs(20), closing).await.expect("it closes").unwrap().unwrap();

    let (engine, me, gate) = waiting(&path).await;
    gate.add_permits(1);
    assert_eq!(engine.recover().await.unwrap(), [handle.id()]);
    let done = tokio::time::timeout(Duration::from_secs(20), me.executions().wait(handle.id())).await;
    assert_eq!(done.expect("it goes on").unwrap().text(), "done");
}

#[tokio::test]
async fn a_child_that_meets_a_locked_database_waits_and_so_does_its_parent() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let (engine, me, gate) = waiting(&path).await;
    let limit = blitz::Money::parse("1").unwrap();
    let budget = me.budgets().create(blitz::NewBudget::per_execution("each", limit)).await.unwrap();
    me.models().put(NewModel::new("asks", "asks", "x").with_price(priced("m").price.unwrap())).await.unwrap();
    me.agents().put(blitz::NewAgent::new("parent", "asks").instructions("Ask.").agent("a")).await.unwrap();
    let handle = me.start("parent", "x").await.unwrap();
    let in_its_tool = async || {
        let mut all = blitz::ExecutionFilter::default();
        all.children = true;
        let listed = me.executions().list(all, ListOptions::default()).await.unwrap().items;
        let Some(child) = listed.iter().find(|execution| execution.parent_id.is_some()) else { return false };
        !me.executions().steps(child.id, ListOptions::default()).await.unwrap().items.is_empty()
    };
    while !in_its_tool().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let holder = lock(&path);
    gate.add_permits(1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(holder);

    let done = tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("it goes on").unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "the child said done"));
    assert_eq!(engine.recover().await.unwrap(), [], "nothing had stopped");
    for window in me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items {
        assert_eq!(window.pending, blitz::Money::ZERO, "something stays reserved: {window:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_an_execution_waits_for_space() {
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.folder.path().join("blitz.db");
    let (_engine, me, gate) = waiting(&path).await;
    let handle = me.start("a", "x").await.unwrap();
    while me.executions().steps(handle.id(), ListOptions::default()).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let filler = disk.fill();

    let mut big = priced("big");
    big.description = "x".repeat(200_000);
    let error = me.models().put(big.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::StorageFull, true), "{}", error.chain());
    gate.add_permits(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(me.models().get("m").await.is_ok(), "reading goes on");
    fs::remove_file(filler).unwrap();

    let done =
        tokio::time::timeout(Duration::from_secs(20), handle.wait()).await.expect("it goes on by itself").unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
    me.models().put(big).await.unwrap();
    assert_eq!(me.audit().verify(None).await.unwrap().first_bad, None);
}
