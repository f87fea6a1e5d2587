//! The files to review, and their copies in the one folder that the agent may read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest;

use crate::Result;

/// Where Debian keeps the texts of the common licences.
const LICENSES: &str = "/usr/share/common-licenses";
/// What is reviewed where those are missing.
const OWN_LICENSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../LICENSE");
/// The most files of a batch that names none.
const MOST: usize = 12;
/// The most bytes of a document: what the file tool gives at once.
const LARGEST: u64 = 128 * 1024;

/// A file of the batch.
pub struct Document {
    /// Where it was found.
    pub source: PathBuf,
    /// Its name in the folder, and on the screen; unique in the batch.
    pub name: String,
    /// A hash of its content, or why it cannot be reviewed.
    pub fingerprint: std::result::Result<String, String>,
}

/// The files that are reviewed where none is named: a dozen licences, links left out.
pub fn usual_files() -> Vec<PathBuf> {
    let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let found = fs::read_dir(LICENSES).map(|entries| entries.flatten().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = found.map(|paths| paths.filter(is_file).collect()).unwrap_or_default();
    files.sort();
    files.truncate(MOST);
    if files.is_empty() { vec![PathBuf::from(OWN_LICENSE)] } else { files }
}

/// The same files, each once, in order, by their full paths.
pub fn in_order(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let full = |path: PathBuf| fs::canonicalize(&path).or_else(|_| std::path::absolute(&path)).unwrap_or(path);
    let mut files: Vec<PathBuf> = files.into_iter().map(full).collect();
    files.sort();
    files.dedup();
    files
}

/// Copies the files into `folder`, each under a name of its own; one that cannot be reviewed says why.
pub fn copy(files: &[PathBuf], folder: &Path) -> Result<Vec<Document>> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut documents: Vec<Document> = Vec::with_capacity(files.len());
    for file in files {
        let name = free_name(file, &documents);
        let fingerprint = match read(file) {
            Ok(text) => {
                let copy = folder.join(&name);
                write(&copy, &text).map_err(|error| format!("{}: {error}", copy.display()))?;
                Ok(fingerprint(text.as_bytes()))
            }
            Err(reason) => Err(reason),
        };
        documents.push(Document { source: file.clone(), name, fingerprint });
    }
    Ok(documents)
}

/// A short hash: the same for the same bytes, at any time and on any machine.
pub fn fingerprint(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file's own name in plain letters, with a number where another document has it already.
fn free_name(file: &Path, taken: &[Document]) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(100).collect();
    let name = if name.starts_with('.') || name.is_empty() { format!("file{name}") } else { name };
    let is_free = |name: &String| !taken.iter().any(|document| document.name == *name);
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) => (stem, format!(".{ending}")),
        None => (name.as_str(), String::new()),
    };
    let numbered = (2..).map(|number| format!("{stem}-{number}{ending}"));
    std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or_default()
}

/// The text of a file, or why it has none that can be reviewed.
fn read(file: &Path) -> std::result::Result<String, String> {
    let metadata = fs::metadata(file).map_err(|error| in_words(&error))?;
    if !metadata.is_file() {
        return Err(if metadata.is_dir() { "a folder, not a file" } else { "not a plain file" }.to_owned());
    }
    if metadata.len() > LARGEST {
        let size = metadata.len().div_ceil(1024);
        return Err(format!("too large: {size} KB, at most {} KB are reviewed", LARGEST / 1024));
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)).map_err(|error| in_words(&error))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => Err("empty".to_owned()),
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("not a text file".to_owned()),
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    }
}

/// Writes a copy, unless it is there: an execution may be reading it.
fn write(copy: &Path, text: &str) -> io::Result<()> {
    match fs::read(copy) {
        Ok(bytes) if bytes == text.as_bytes() => Ok(()),
        _ => fs::write(copy, text),
    }
}
