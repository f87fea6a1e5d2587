//! Ways below a folder: what a path may say, and a walk that no link leads astray.

use std::io;

use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

const MAX_PATH: usize = 4_096;
const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 255;

/// Names that mean a device on some system, with any extension and in any case.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];

/// The names of a relative path, each safe on every system. Errors: what is wrong, for the model.
pub(super) fn names(path: &str) -> Result<Vec<&str>, String> {
    if path.len() > MAX_PATH {
        return Err(format!("the path is longer than {MAX_PATH} bytes"));
    }
    if path.starts_with('/') {
        return Err("the path must be relative to the folder of this tool".to_owned());
    }
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.len() > MAX_NAMES {
        return Err(format!("the path has more than {MAX_NAMES} names"));
    }
    names.iter().try_for_each(|name| admit(name))?;
    Ok(names)
}

fn admit(name: &str) -> Result<(), String> {
    if name == ".." {
        return Err("the path must not contain ..".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name in the path is longer than {MAX_NAME} bytes"));
    }
    if name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
        return Err("the path has a character that is not allowed in file names".to_owned());
    }
    if name.ends_with(['.', ' ']) {
        return Err("a name in the path ends in a dot or space".to_owned());
    }
    if is_device(name) {
        return Err("the path names a device".to_owned());
    }
    Ok(())
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &&str| {
        let mut rest = stem.strip_prefix(*prefix).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED_DEVICES.iter().any(numbered)
}

/// Opens the folder that `names` lead to, one name at a time, through no symbolic link.
pub(super) fn walk(root: &Dir, names: &[&str], create: bool) -> io::Result<Dir> {
    let mut folder = root.try_clone()?;
    for name in names {
        folder = match folder.open_dir_nofollow(name) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => match folder.create_dir(name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => folder.open_dir_nofollow(name)?,
            },
            opened => opened?,
        };
    }
    Ok(folder)
}

/// Opens a plain file for reading: no link, no second name, no pipe or device.
///
/// It is looked at before it is opened, because opening a device can do things, and again through
/// the handle, because what is there may have been swapped.
pub(super) fn open_plain(folder: &Dir, name: &str) -> io::Result<(File, Metadata)> {
    admit_plain(&folder.symlink_metadata(name)?)?;
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let file = folder.open_with(name, &options)?;
    let metadata = file.metadata()?;
    admit_plain(&metadata)?;
    Ok((file, metadata))
}

/// Refuses all but a regular file with one name. A file's second name may be outside of the folder.
pub(super) fn admit_plain(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a plain file"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file has a second name (a hard link)"));
    }
    Ok(())
}

/// What an error means for the model, without any path of the machine.
pub(super) fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::NotADirectory => "a folder in the path is not a folder, or is a symbolic link".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full".to_owned(),
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => error.to_string(),
        io::ErrorKind::PermissionDenied => "access is denied".to_owned(),
        kind => format!("the file system refused: {kind}"),
    }
}
