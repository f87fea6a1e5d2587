//! A change of the master key, ended at every step.

use std::path::Path;

use super::PASSWORD;
use crate::access::gate::OpenGate;
use crate::access::{Caller, Gate, Rules};
use crate::domain::{Login, NewUser, Secret};
use crate::error::ErrorCode;
use crate::store::{OpenOptions, access};

const OLD: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const NEW: &str = "0808080808080808080808080808080808080808080808080808080808080808";

async fn open(path: &Path, key: Option<&str>) -> Result<(OpenGate, Caller), ErrorCode> {
    let mut options = OpenOptions::new(path.to_str().unwrap());
    options.master_key = key.map(Secret::new);
    let open = Gate::open(options, Rules::default()).await.map_err(|error| error.code())?;
    let root = open.gate.root("test");
    Ok((open, root))
}

/// Secrets enough for three slices, and a user who can log in.
async fn fill(open: &OpenGate, root: &Caller) {
    open.gate.create_user(root, NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    let parts = open.gate.parts.clone();
    let filled = open.work.write(move |tx, standing| {
        for number in 0..450 {
            let value = Secret::new(&format!("value {number}"));
            access::put_named_secret(tx, &parts.keys, &format!("s{number}"), None, &value, standing.now())?;
        }
        Ok(())
    });
    filled.await.unwrap();
}

/// Everything opens, the trail is whole, and nothing is sealed under another key than the one it says.
async fn whole(open: &OpenGate, root: &Caller) {
    let parts = open.gate.parts.clone();
    let read = open.work.read(move |tx, _| {
        for number in 0..450 {
            let value = access::named_secret(tx, &parts.keys, &format!("s{number}"))?;
            assert_eq!(value.unwrap().expose(), format!("value {number}"));
        }
        Ok(())
    });
    read.await.unwrap();
    open.gate.login(&Login::new("ana@example.com", PASSWORD)).await.unwrap();
    assert_eq!(open.gate.verify_audit(root, None).await.unwrap().first_bad, None);
}

fn close(open: OpenGate) {
    open.gate.close();
    open.boot.release();
}

#[tokio::test]
async fn a_change_of_a_hosts_key_survives_its_end_at_every_step() {
    for stop in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (first, root) = open(&path, Some(OLD)).await.unwrap();
        fill(&first, &root).await;
        if stop > 0 {
            first.gate.begin_master_key(&root, Some(Secret::new(NEW))).await.unwrap();
        }
        for _ in 1..stop {
            first.gate.reseal_slice().await.unwrap();
        }
        whole(&first, &root).await;
        close(first);

        if stop > 0 {
            // The old key still opens it, and leaves the change as it is.
            let (again, root) = open(&path, Some(OLD)).await.unwrap();
            whole(&again, &root).await;
            let other = again.gate.rotate_master_key(&root, Some(Secret::new(&"09".repeat(32)))).await;
            assert_eq!(super::code(other), Some(ErrorCode::Conflict));
            close(again);
            // The new one opens it and ends the change.
            let (ended, root) = open(&path, Some(NEW)).await.unwrap();
            whole(&ended, &root).await;
            close(ended);
            assert_eq!(open(&path, Some(OLD)).await.map(drop), Err(ErrorCode::Storage));
        } else {
            assert_eq!(open(&path, Some(NEW)).await.map(drop), Err(ErrorCode::Storage));
            let (again, root) = open(&path, Some(OLD)).await.unwrap();
            again.gate.rotate_master_key(&root, Some(Secret::new(NEW))).await.unwrap();
            whole(&again, &root).await;
            close(again);
        }
        let (last, root) = open(&path, Some(NEW)).await.unwrap();
        whole(&last, &root).await;
        // And once more, so that what was carried along is carried again.
        last.gate.rotate_master_key(&root, Some(Secret::new(OLD))).await.unwrap();
        whole(&last, &root).await;
        close(last);
        let (last, root) = open(&path, Some(OLD)).await.unwrap();
        whole(&last, &root).await;
        close(last);
    }
}

#[tokio::test]
async fn a_change_of_a_key_file_goes_on_by_itself() {
    for stop in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (first, root) = open(&path, None).await.unwrap();
        fill(&first, &root).await;
        let before = std::fs::read_to_string(folder.path().join("a.db.key")).unwrap();
        match stop {
            0 => first.gate.rotate_master_key(&root, None).await.unwrap(),
            1 => first.gate.begin_master_key(&root, None).await.unwrap(),
            _ => {
                first.gate.begin_master_key(&root, None).await.unwrap();
                first.gate.reseal_slice().await.unwrap();
            }
        }
        close(first);
        let (again, root) = open(&path, None).await.unwrap();
        whole(&again, &root).await;
        let after = std::fs::read_to_string(folder.path().join("a.db.key")).unwrap();
        assert_ne!(before, after, "the change is over");
        if stop == 3 {
            // Ended between the last commit and the new name of the key file.
            close(again);
            std::fs::rename(folder.path().join("a.db.key"), folder.path().join("a.db.key.next")).unwrap();
            std::fs::write(folder.path().join("a.db.key"), &before).unwrap();
            let (again, root) = open(&path, None).await.unwrap();
            whole(&again, &root).await;
            close(again);
        } else {
            close(again);
        }
    }
}

#[tokio::test]
async fn another_process_with_the_old_key_writes_nothing_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let (first, root) = open(&path, Some(OLD)).await.unwrap();
    fill(&first, &root).await;
    let (stale, stale_root) = open(&path, Some(OLD)).await.unwrap();
    first.gate.rotate_master_key(&root, Some(Secret::new(NEW))).await.unwrap();
    let set = stale.gate.set_named_secret(&stale_root, "late".into(), Secret::new("x")).await;
    assert_eq!(super::code(set), Some(ErrorCode::Storage));
    assert_eq!(super::code(stale.gate.rotate_master_key(&stale_root, None).await), Some(ErrorCode::InvalidInput));
    whole(&first, &root).await;
    close(stale);
    close(first);
}
