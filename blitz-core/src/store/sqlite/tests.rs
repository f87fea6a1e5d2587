//! SQLite under real conditions: bad files, full disks, several processes.

use super::*;
use crate::store::{conformance, memory};

#[tokio::test]
async fn memory_passes_the_suite() {
    conformance::all(&memory().store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = open(&OpenOptions::new(folder.path().join("a.db").to_string_lossy())).expect("a new file opens");
    conformance::all(&opened.store).await;
}
