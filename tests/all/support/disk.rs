//! A disk that is soon full.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::folder::Folder;

/// A disk of two megabytes, where the machine lets one be mounted.
pub(crate) struct SmallDisk {
    pub(crate) folder: Folder,
}

impl SmallDisk {
    /// `None` where none can be mounted here.
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    pub(crate) fn mount() -> Option<Self> {
        let folder = Folder::new();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        eprintln!("SKIPPED: no small disk can be mounted here, so a full one is not tested");
        None
    }

    /// Takes all the space there is; gives the file to remove.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("filler");
        let mut size = 2 << 20;
        let mut bytes = Vec::new();
        while size > 0 {
            bytes.resize(bytes.len() + size, 0u8);
            if fs::write(&path, &bytes).is_err() {
                bytes.truncate(bytes.len() - size);
                size /= 2;
            }
        }
        fs::write(&path, &bytes).ok();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.folder.search();
        }
        // Lazily: the engine of a test that failed may still have its files open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
