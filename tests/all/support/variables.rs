//! Tests in an environment of their own: a process cannot change its own while threads read it.

use std::process::Command;

const INNER: &str = "BLITZ_TEST_VARIABLES";

/// Whether this process is the one with the variables set. In the other it runs the test `name` anew
/// with just them, of all that providers read, and fails as that fails.
pub fn set(name: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", name]).env(INNER, "1");
    blitz::provider::variables().for_each(|name| {
        inner.env_remove(name);
    });
    let output = inner.envs(variables.iter().copied()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}
