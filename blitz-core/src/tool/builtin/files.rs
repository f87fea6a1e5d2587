//! Reading, writing and listing files below one folder that nothing gets out of.
//!
//! The folder is opened once, when the tool is prepared; every path is walked from that handle.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::path::{admit_plain, names, open_plain, told, walk};
use crate::domain::ToolSpec;
use crate::error::{Error, ErrorCode, Result};
use crate::tool::function::schema_of;
use crate::tool::{FunctionTool, ToolError};

/// The most bytes that one call reads, and that a written file may have, where nothing is set.
const DEFAULT_MAX_BYTES: u64 = 1 << 20;
/// The most that `max_bytes` may be set to.
const LARGEST_MAX_BYTES: u64 = 64 << 20;
/// Bytes that one call reads where it names no limit: fits into a tool result.
const DEFAULT_READ: u64 = 128 << 10;
/// The most that one call reads, whatever is set.
const LARGEST_READ: u64 = 1 << 20;
/// The most entries of one listing.
const MAX_ENTRIES: usize = 1_000;
/// The most entries that are looked at for one listing.
const MAX_LOOKED_AT: usize = 20_000;

/// Settings of a file tool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    /// The folder.
    root: String,
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
    /// Whether a file may be appended to. Twice is then not the same as once: the tool is `unsafe`.
    #[serde(default)]
    append: bool,
}

fn default_max_bytes() -> u64 {
    DEFAULT_MAX_BYTES
}

impl FileConfig {
    /// Reads settings. Errors: `InvalidInput`.
    pub(super) fn parse(config: &Map<String, Value>) -> Result<Self> {
        let config: Self = serde_json::from_value(Value::Object(config.clone()))
            .map_err(|error| Error::invalid(format!("config of a file tool: {error}")))?;
        if config.root.trim().is_empty() || config.root.contains('\0') {
            return Err(Error::invalid("config of a file tool: root is the path of a folder"));
        }
        if !(1..=LARGEST_MAX_BYTES).contains(&config.max_bytes) {
            return Err(Error::invalid(format!(
                "config of a file tool: max_bytes is between 1 and {LARGEST_MAX_BYTES}"
            )));
        }
        Ok(config)
    }

    fn open(&self) -> Result<Arc<Dir>> {
        let root = Dir::open_ambient_dir(&self.root, ambient_authority()).map_err(|error| {
            Error::new(ErrorCode::NotFound, format!("the root of a file tool cannot be opened: {}", error.kind()))
        })?;
        Ok(Arc::new(root))
    }
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArgs {
    /// Path of the file, relative to the tool's folder.
    path: String,
    /// Byte to begin at; 0 where absent.
    #[serde(default)]
    offset: u64,
    /// The most bytes to read.
    #[serde(default)]
    limit: Option<u64>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteArgs {
    /// Path of the file, relative to the tool's folder; missing folders are made.
    path: String,
    /// The whole new text of the file.
    content: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct AppendArgs {
    /// Path of the file, relative to the tool's folder; missing folders are made.
    path: String,
    /// The text to write.
    content: String,
    /// Whether to write behind what the file holds, in place of it.
    #[serde(default)]
    append: bool,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// Path of the folder, relative to the tool's folder; that folder itself where absent.
    #[serde(default)]
    path: String,
}

/// What a model sees of `file_read`.
pub(super) fn read_spec() -> ToolSpec {
    let text = "Reads a text file. Gives its content; next_offset is there when the file goes on.";
    ToolSpec::new("file_read", text, schema_of::<ReadArgs>())
}

/// What a model sees of `file_write`.
pub(super) fn write_spec(append: bool) -> ToolSpec {
    let text = "Writes a text file, in place of what it held. Gives the file's size in bytes.";
    let schema = if append { schema_of::<AppendArgs>() } else { schema_of::<WriteArgs>() };
    ToolSpec::new("file_write", text, schema)
}

/// What a model sees of `file_list`.
pub(super) fn list_spec() -> ToolSpec {
    let text = "Lists the files and folders of a folder by name, with kind and size in bytes.";
    ToolSpec::new("file_list", text, schema_of::<ListArgs>())
}

/// `file_read` below a folder. Errors: `NotFound` where the folder cannot be opened.
pub(super) fn read_tool(config: FileConfig) -> Result<FunctionTool> {
    let root = config.open()?;
    let spec = read_spec();
    let tool = FunctionTool::blocking(spec.name, spec.description, move |arguments: ReadArgs, _| {
        read(&root, &arguments, config.max_bytes.min(LARGEST_READ)).map_err(ToolError::Failed)
    });
    Ok(tool.pure())
}

/// `file_write` below a folder. Errors: `NotFound` where the folder cannot be opened.
pub(super) fn write_tool(config: FileConfig) -> Result<FunctionTool> {
    let root = config.open()?;
    let spec = write_spec(config.append);
    let max_bytes = config.max_bytes;
    if config.append {
        return Ok(FunctionTool::blocking(spec.name, spec.description, move |arguments: AppendArgs, _| {
            write(&root, &arguments.path, &arguments.content, arguments.append, max_bytes).map_err(ToolError::Failed)
        }));
    }
    let tool = FunctionTool::blocking(spec.name, spec.description, move |arguments: WriteArgs, _| {
        write(&root, &arguments.path, &arguments.content, false, max_bytes).map_err(ToolError::Failed)
    });
    Ok(tool.idempotent())
}

/// `file_list` below a folder. Errors: `NotFound` where the folder cannot be opened.
pub(super) fn list_tool(config: FileConfig) -> Result<FunctionTool> {
    let root = config.open()?;
    let spec = list_spec();
    let tool = FunctionTool::blocking(spec.name, spec.description, move |arguments: ListArgs, _| {
        list(&root, &arguments.path).map_err(ToolError::Failed)
    });
    Ok(tool.pure())
}

fn read(root: &Dir, arguments: &ReadArgs, max_bytes: u64) -> Result<Value, String> {
    let names = names(&arguments.path)?;
    let (name, folders) = names.split_last().ok_or("the path names no file")?;
    let limit = arguments.limit.unwrap_or(DEFAULT_READ.min(max_bytes));
    if limit > max_bytes {
        return Err(format!("limit is over {max_bytes} bytes: read the file in pieces by offset"));
    }
    let slice = read_slice(root, folders, name, arguments.offset, limit).map_err(|error| told(&error))?;
    let (skipped, text, lossy) = slice.text(arguments.offset > 0);
    let begin = arguments.offset + skipped as u64;
    let mut result = json!({"path": names.join("/"), "content": text.0, "offset": begin, "size": slice.size});
    let next = begin + text.1 as u64;
    if next < slice.size && text.1 > 0 {
        result["next_offset"] = json!(next);
    }
    if lossy {
        result["note"] = json!("the file is not UTF-8 text: what could not be read is shown as \u{fffd}");
    }
    Ok(result)
}

struct Slice {
    bytes: Vec<u8>,
    size: u64,
    at_end: bool,
}

fn read_slice(root: &Dir, folders: &[&str], name: &str, offset: u64, limit: u64) -> io::Result<Slice> {
    let folder = walk(root, folders, false)?;
    let (mut file, metadata) = open_plain(&folder, name)?;
    let mut bytes = Vec::new();
    if offset < metadata.len() {
        file.seek(SeekFrom::Start(offset))?;
        file.take(limit).read_to_end(&mut bytes)?;
    }
    let at_end = offset.saturating_add(bytes.len() as u64) >= metadata.len();
    Ok(Slice { bytes, size: metadata.len(), at_end })
}

impl Slice {
    /// The text, whole characters only: bytes skipped at the front, the text and the bytes it takes,
    /// and whether something in it is no text.
    fn text(&self, inside: bool) -> (usize, (String, usize), bool) {
        let tail_of_char = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let skipped = if inside { self.bytes.iter().take(3).take_while(tail_of_char).count() } else { 0 };
        let bytes = &self.bytes[skipped..];
        match std::str::from_utf8(bytes) {
            Ok(text) => (skipped, (text.to_owned(), bytes.len()), false),
            // Only the last character is cut off by the limit.
            Err(error) if error.error_len().is_none() && !self.at_end && error.valid_up_to() > 0 => {
                let whole = &bytes[..error.valid_up_to()];
                (skipped, (String::from_utf8_lossy(whole).into_owned(), whole.len()), false)
            }
            Err(_) => (skipped, (String::from_utf8_lossy(bytes).into_owned(), bytes.len()), true),
        }
    }
}

fn write(root: &Dir, path: &str, content: &str, append: bool, max_bytes: u64) -> Result<Value, String> {
    let too_large = || format!("the file would be over {max_bytes} bytes");
    if content.len() as u64 > max_bytes {
        return Err(too_large());
    }
    let names = names(path)?;
    let (name, folders) = names.split_last().ok_or("the path names no file")?;
    let folder = walk(root, folders, true).map_err(|error| told(&error))?;
    let mut bytes = match held(&folder, name, append, max_bytes).map_err(|error| told(&error))? {
        Held::Bytes(bytes) => bytes,
        Held::TooMuch => return Err(too_large()),
    };
    bytes.extend_from_slice(content.as_bytes());
    if bytes.len() as u64 > max_bytes {
        return Err(too_large());
    }
    replace(&folder, name, &bytes).map_err(|error| told(&error))?;
    Ok(json!({"path": names.join("/"), "size": bytes.len()}))
}

enum Held {
    Bytes(Vec<u8>),
    TooMuch,
}

/// What a file holds that stays; a file that is no plain file is refused either way.
fn held(folder: &Dir, name: &str, stays: bool, max_bytes: u64) -> io::Result<Held> {
    match folder.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Bytes(Vec::new())),
        Err(error) => return Err(error),
        Ok(metadata) => admit_plain(&metadata)?,
    }
    if !stays {
        return Ok(Held::Bytes(Vec::new()));
    }
    let (file, metadata) = open_plain(folder, name)?;
    if metadata.len() > max_bytes {
        return Ok(Held::TooMuch);
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Held::Bytes(bytes))
}

/// Writes a file so that readers see the old or the new one, never a half: beside it, then renamed.
fn replace(folder: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).follow(FollowSymlinks::No);
    let mut file = folder.open_with(&temporary, &options)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| folder.rename(&temporary, folder, name));
    if written.is_err() {
        // What failed is told; a file that stays behind is the lesser harm.
        folder.remove_file(&temporary).ok();
    }
    written
}

fn temporary_name() -> io::Result<String> {
    let mut random = [0u8; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).map_err(|_| io::ErrorKind::Other)?;
    Ok(format!(".blitz-{:016x}.tmp", u64::from_ne_bytes(random)))
}

fn list(root: &Dir, path: &str) -> Result<Value, String> {
    let names = names(path)?;
    let (mut entries, more) = entries(root, &names).map_err(|error| told(&error))?;
    entries.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let more = more || entries.len() > MAX_ENTRIES;
    entries.truncate(MAX_ENTRIES);
    let mut result = json!({"path": names.join("/"), "entries": entries});
    if more {
        result["note"] = json!(format!("there are more: the first {MAX_ENTRIES} are shown"));
    }
    Ok(result)
}

/// The entries of a folder, as many as are looked at, and whether there are more.
fn entries(root: &Dir, names: &[&str]) -> io::Result<(Vec<Value>, bool)> {
    let mut found = Vec::new();
    for entry in walk(root, names, false)?.entries()? {
        if found.len() == MAX_LOOKED_AT {
            return Ok((found, true));
        }
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push(if kind.is_file() {
            // It may be gone by now; then its size is not known.
            json!({"name": name, "kind": "file", "size": entry.metadata().ok().map(|metadata| metadata.len())})
        } else {
            let kind = if kind.is_dir() {
                "folder"
            } else if kind.is_symlink() {
                "link"
            } else {
                "other"
            };
            json!({"name": name, "kind": kind})
        });
    }
    Ok((found, false))
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests;
