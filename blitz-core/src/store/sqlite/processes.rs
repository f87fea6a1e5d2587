//! Several processes on one file: real children, counted, killed, forked.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::store::conformance::{add, count};

/// Tells [`child`] what to do; without it, it is a test that does nothing.
const ROLE: &str = "BLITZ_TEST_ROLE";
const DATABASE: &str = "BLITZ_TEST_DATABASE";

const WRITES: usize = 200;

/// This test program again, in a role.
fn command(role: &str, database: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "store::sqlite::processes::child", "--nocapture"]);
    command.env(ROLE, role).env(DATABASE, database).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A child that ends with the test, however that ends.
struct Kid {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Kid {
    fn start(role: &str, database: &Path) -> Self {
        let mut child = command(role, database).spawn().expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// Waits for a line `word rest`, gives the rest; `None` at the end of the output.
    fn told(&mut self, word: &str) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).expect("a line") > 0 {
            if let Some(rest) = line.strip_prefix(word) {
                return Some(rest.trim().to_owned());
            }
            line.clear();
        }
        None
    }

    fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    (folder, path)
}

fn opened(path: &Path) -> Opened {
    open(&OpenOptions::new(path.to_string_lossy())).expect("the store opens")
}

/// What a child does. In a plain run of the tests there is no role, and nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(role), Some(database)) = (std::env::var(ROLE), std::env::var_os(DATABASE)) else { return };
    let database = PathBuf::from(database);
    match role.as_str() {
        "add" => add_many(&opened(&database).store).await,
        "add until killed" => add_until_killed(&opened(&database)).await,
        "leave an heir" => leave_an_heir(&opened(&database), &database),
        "heir" => wait_for(|| beside(&database, ".stop").exists()),
        other => panic!("no such role: {other}"),
    }
}

async fn add_many(store: &Store) {
    let writes: Vec<_> = (0..WRITES).map(|_| store.write(|tx| add(tx, "shared"))).collect();
    for write in writes {
        write.await.expect("a write");
        // One after the other, so that the processes are at it at the same time.
        store.write(|tx| add(tx, "turns")).await.expect("a write");
    }
    store.close();
}

async fn add_until_killed(opened: &Opened) {
    tell(&format!("boot {}", opened.boot.id()));
    for number in 1_u64.. {
        opened.store.write(|tx| add(tx, "acked")).await.expect("a write");
        tell(&format!("acked {number}"));
    }
}

fn leave_an_heir(opened: &Opened, database: &Path) {
    let mut heir = command("heir", database);
    // It outlives whoever could read what it says.
    let mut heir = heir.stdin(opened.boot.inherited()).stdout(Stdio::null()).spawn().expect("an heir");
    tell(&format!("boot {}", opened.boot.id()));
    heir.wait().expect("never: this process is killed first");
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").and_then(|()| out.flush()).expect("somebody listens");
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_create_one_file_at_once_count_every_write() {
    let (folder, path) = new();
    let mut kids: Vec<_> = (0..4).map(|_| Kid::start("add", &path)).collect();
    let mine = opened(&path);
    add_many(&mine.store).await;
    for kid in &mut kids {
        let mut said = String::new();
        kid.lines.read_to_string(&mut said).expect("its output");
        assert!(kid.child.wait().expect("it ends").success(), "{said}");
    }
    drop(mine);

    let again = opened(&path);
    let expected = i64::try_from(5 * WRITES).expect("a small number");
    assert_eq!(count(&again.store, "shared").await, expected);
    assert_eq!(count(&again.store, "turns").await, expected);
    again.store.close();
    drop(again);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 2, "the store and its key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_was_told_is_kept() {
    let (folder, path) = new();
    let mut kid = Kid::start("add until killed", &path);
    let boot = kid.told("boot ").expect("its boot");
    let mine = opened(&path);
    assert!(mine.boot.is_alive(&boot));

    let mut acked = 0;
    while acked < 50 {
        acked = kid.told("acked ").expect("it goes on").parse::<i64>().expect("a number");
    }
    kid.kill();
    while let Some(Ok(number)) = kid.told("acked ").map(|number| number.parse()) {
        acked = number;
    }
    assert!(!mine.boot.is_alive(&boot), "the kernel has dropped its lock");
    assert!(count(&mine.store, "acked").await >= acked);
    drop(mine);

    let again = opened(&path);
    assert!(count(&again.store, "acked").await >= acked);
    assert!(!folder.path().join(format!("a.db-boot-{boot}")).exists(), "the dead are tidied up");
}

/// A forked child shares the open file and with it the lock, so its parent counts as alive until
/// both have ended. The child here is given the same open file as a fork would.
#[test]
fn a_boot_lives_until_the_last_heir_of_its_lock_has_ended() {
    let (_folder, path) = new();
    let mut kid = Kid::start("leave an heir", &path);
    let boot = kid.told("boot ").expect("its boot");
    let mine = opened(&path);
    kid.kill();
    assert!(mine.boot.is_alive(&boot), "the heir holds the lock");
    assert!(opened(&path).boot.is_alive(&boot), "and an opening does not tidy it up");

    std::fs::write(beside(&path, ".stop"), "").expect("a file");
    wait_for(|| !mine.boot.is_alive(&boot));
}
