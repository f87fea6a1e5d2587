//! Tests that every backend must pass: what callers of [`Store`] rely on, whatever lies below.
//!
//! Each takes an open store that nobody else uses. A backend's own tests call [`all`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::sql::params;
use super::{Connection, SqlValue, Store};
use crate::error::{Error, ErrorCode, Result};

/// Runs the whole suite.
pub(crate) async fn all(store: &Store) {
    values_come_back_as_they_went_in(store).await;
    a_read_cannot_write(store).await;
    a_refused_write_leaves_nothing(store).await;
    a_write_that_fails_behind_a_write_leaves_its_siblings(store).await;
    a_panic_is_an_error_and_the_store_goes_on(store).await;
    a_taken_name_is_a_conflict_that_shows_no_sql(store).await;
    a_dropped_future_does_not_take_its_write_back(store).await;
    reads_see_committed_data_only(store).await;
    a_thousand_writes_at_once_all_count(store).await;
    close_finishes_what_is_queued_and_refuses_the_rest(store).await;
}

/// Adds one to a counter.
pub(crate) fn add(connection: &mut dyn Connection, counter: &str) -> Result<()> {
    connection
        .execute(
            "INSERT INTO store_info (key, value) VALUES (?1, '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(store_info.value AS INTEGER) + 1 AS TEXT)",
            params![counter],
        )
        .map(|_| ())
}

/// The value of a counter, 0 where there is none.
pub(crate) async fn count(store: &Store, counter: &'static str) -> i64 {
    store.read(move |connection| count_in(connection, counter)).await.expect("the count is read")
}

fn count_in(connection: &mut dyn Connection, counter: &str) -> Result<i64> {
    let row = connection.query_one("SELECT CAST(value AS INTEGER) FROM store_info WHERE key = ?1", params![counter])?;
    row.map_or(Ok(0), |row| row.int(0))
}

fn refusal() -> Error {
    Error::new(ErrorCode::BudgetExceeded, "no")
}

async fn values_come_back_as_they_went_in(store: &Store) {
    let values = || {
        vec![
            SqlValue::Int(i64::MIN),
            SqlValue::Int(i64::MAX),
            SqlValue::Text("ünï\u{1F600} 'quoted' \0 zero".into()),
            SqlValue::Text(String::new()),
            SqlValue::Blob(vec![0, 255, 7]),
            SqlValue::Blob(Vec::new()),
            SqlValue::Null,
        ]
    };
    let row = store.read(move |tx| tx.query_one("SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7", &values())).await;
    assert_eq!(row.expect("a row").expect("one row").0, values());

    let none = store.read(|tx| tx.query_one("SELECT key FROM store_info WHERE key = ?1", params!["nobody"])).await;
    assert_eq!(none.expect("an answer"), None);
    let too_few = store.read(|tx| tx.query_all("SELECT ?1, ?2", params![1_i64])).await;
    assert_eq!(too_few.expect_err("a value is missing").code(), ErrorCode::Internal);
}

async fn a_read_cannot_write(store: &Store) {
    let outcome = store.read(|tx| add(tx, "from a read")).await;
    assert!(outcome.is_err());
    assert_eq!(count(store, "from a read").await, 0);
    store.write(|tx| add(tx, "after a read")).await.expect("writes go on");
}

async fn a_refused_write_leaves_nothing(store: &Store) {
    let before = count(store, "refused").await;
    let refused = store.write::<(), _>(|_| Err(refusal())).await;
    assert_eq!(refused.expect_err("a refusal").code(), ErrorCode::BudgetExceeded);
    let undone = store.write::<(), _>(|tx| add(tx, "refused").and(Err(refusal()))).await;
    assert_eq!(undone.expect_err("a refusal").code(), ErrorCode::BudgetExceeded);
    assert_eq!(count(store, "refused").await, before);
}

async fn a_write_that_fails_behind_a_write_leaves_its_siblings(store: &Store) {
    let hold = Hold::on(store).await;
    let first = store.write(|tx| add(tx, "sibling"));
    let broken = store.write::<(), _>(|tx| add(tx, "broken").and(Err(refusal())));
    let second = store.write(|tx| add(tx, "sibling"));
    hold.release().await;

    first.await.expect("the first sibling commits");
    assert_eq!(broken.await.expect_err("it fails").code(), ErrorCode::BudgetExceeded);
    second.await.expect("the second sibling commits");
    assert_eq!(count(store, "sibling").await, 2);
    assert_eq!(count(store, "broken").await, 0);
}

async fn a_panic_is_an_error_and_the_store_goes_on(store: &Store) {
    let hold = Hold::on(store).await;
    let sibling = store.write(|tx| add(tx, "beside a panic"));
    let panicked = store.write::<(), _>(|tx| {
        add(tx, "panicked")?;
        std::panic::panic_any("key-4711")
    });
    hold.release().await;

    sibling.await.expect("the sibling commits");
    let error = panicked.await.expect_err("a panic");
    assert_eq!(error.code(), ErrorCode::Panic);
    assert!(!error.chain().contains("4711"), "what a panic says stays inside");
    let in_read = store.read::<(), _>(|_| std::panic::panic_any("again")).await;
    assert_eq!(in_read.expect_err("a panic").code(), ErrorCode::Panic);
    store.write(|tx| add(tx, "beside a panic")).await.expect("writes go on");
    assert_eq!(count(store, "beside a panic").await, 2);
    assert_eq!(count(store, "panicked").await, 0);
}

async fn a_taken_name_is_a_conflict_that_shows_no_sql(store: &Store) {
    let insert = |tx: &mut dyn Connection| {
        tx.execute("INSERT INTO store_info (key, value) VALUES ('taken', ?1)", params!["a-value-of-ours"])
    };
    store.write(insert).await.expect("the name is free");
    let error = store.write(insert).await.expect_err("the name is taken");
    assert_eq!(error.code(), ErrorCode::Conflict);
    for word in ["store_info", "INSERT", "UNIQUE", "a-value-of-ours"] {
        assert!(!error.chain().contains(word) && !error.details().to_string().contains(word), "{error} shows {word}");
    }

    let wrong = store.write(|tx| tx.execute("INSERT INTO nowhere VALUES (1)", &[])).await.expect_err("no such table");
    assert_eq!(wrong.code(), ErrorCode::Internal);
    assert!(!wrong.chain().contains("nowhere"));
}

async fn a_dropped_future_does_not_take_its_write_back(store: &Store) {
    drop(store.write(|tx| add(tx, "dropped")));
    store.write(|_| Ok(())).await.expect("a write behind it");
    assert_eq!(count(store, "dropped").await, 1);
}

async fn reads_see_committed_data_only(store: &Store) {
    let hold = Hold::on(store).await;
    // Queued into the same group as a sibling that makes the whole group run again.
    let write = store.write(|tx| add(tx, "seen").and_then(|()| add(tx, "seen")));
    let read = store.read(|tx| count_in(tx, "seen"));
    let broken = store.write::<(), _>(|tx| add(tx, "seen").and(Err(refusal())));
    hold.release().await;

    let seen = read.await.expect("a count");
    assert!(seen == 0 || seen == 2, "a read saw {seen} of 2 writes of one transaction");
    write.await.expect("a commit");
    assert!(broken.await.is_err());
    assert_eq!(count(store, "seen").await, 2);
}

async fn a_thousand_writes_at_once_all_count(store: &Store) {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (store, runs) = (store.clone(), Arc::clone(&runs));
        tasks.spawn(async move {
            for turn in 0..16 {
                let counter = Arc::clone(&runs);
                let outcome = store
                    .write(move |tx| {
                        counter.fetch_add(1, Ordering::Relaxed);
                        // Some are refused, some fail behind a write.
                        match (task + turn) % 16 {
                            0 => Err(refusal()),
                            1 => add(tx, "many").and(Err(refusal())),
                            _ => add(tx, "many").and_then(|()| count_in(tx, "many")),
                        }
                    })
                    .await;
                if let Ok(value) = outcome {
                    // Acknowledged means committed: a reader sees it at once.
                    assert!(count(&store, "many").await >= value);
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task fails");
    }
    assert_eq!(count(store, "many").await, 64 * 14);
    assert!(runs.load(Ordering::Relaxed) >= 1024);
}

async fn close_finishes_what_is_queued_and_refuses_the_rest(store: &Store) {
    let hold = Hold::on(store).await;
    let queued: Vec<_> = (0..100).map(|_| store.write(|tx| add(tx, "queued"))).collect();
    let closing = tokio::task::spawn_blocking({
        let store = store.clone();
        move || store.close()
    });
    hold.release().await;
    for write in queued {
        // Close may come before or behind a write is queued, but these were queued before it.
        write.await.expect("what is queued is done");
    }
    closing.await.expect("the store closes");
    store.close();

    let write = store.write(|tx| add(tx, "late")).await.expect_err("closed");
    let read = store.read(|tx| count_in(tx, "late")).await.expect_err("closed");
    assert_eq!((write.code(), read.code()), (ErrorCode::Closed, ErrorCode::Closed));
}

/// A write that stays in its closure until released, so that what follows shares one group.
pub(crate) struct Hold {
    entered: oneshot::Receiver<()>,
    release: std::sync::mpsc::Sender<()>,
    done: std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

impl Hold {
    /// Queues the write and waits until it is in its closure.
    pub(crate) async fn on(store: &Store) -> Self {
        let mut hold = Self::queue(store);
        hold.entered().await;
        hold
    }

    /// Queues the write.
    pub(crate) fn queue(store: &Store) -> Self {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (enter, entered) = oneshot::channel();
        let enter = std::sync::Mutex::new(Some(enter));
        let done = Box::pin(store.write(move |_| {
            let enter = enter.lock().expect("the lock").take();
            // Held at its first run only; the other end is dropped at the latest when the test ends.
            if enter.is_some_and(|enter| enter.send(()).is_ok()) {
                let _ = released.recv();
            }
            Ok(())
        }));
        Self { entered, release, done }
    }

    /// Waits until the write is in its closure.
    pub(crate) async fn entered(&mut self) {
        (&mut self.entered).await.expect("the write begins");
    }

    /// Lets the write end once its group takes no more, so that what waits is a group of its own.
    pub(crate) async fn release_after_a_group(self) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        self.release().await;
    }

    /// Lets the write end and waits for its commit.
    pub(crate) async fn release(self) {
        drop(self.release);
        self.done.await.expect("the write commits");
    }
}
