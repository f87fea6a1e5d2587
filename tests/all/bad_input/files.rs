//! The file tools in the hands of a hostile model: nothing outside of their folder is read or written.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use blitz::provider::Reply;
use blitz::{ErrorCode, ExecutionStatus, NewTool, ToolResult};
use serde_json::{Value, json};

use super::{code, told};
use crate::support::engine::{agent, scripted};
use crate::support::folder::Folder;

const OUTSIDE: &str = "canary outside of the folder";

/// A folder `root` beside a secret that nothing in it may reach.
struct House {
    folder: Folder,
}

impl House {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("root/plain.txt"), "plain").unwrap();
        fs::write(folder.path().join("secret.txt"), OUTSIDE).unwrap();
        Self { folder }
    }

    fn outside(&self) -> &Path {
        self.folder.path()
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    /// Lets a model make these calls in one turn, and gives what it was told.
    async fn call(&self, calls: Vec<(&'static str, Value)>) -> Vec<ToolResult> {
        let (_engine, me, provider) = scripted(vec![Reply::tool_calls(calls), Reply::text("went on")]).await;
        let tools = ["file_read", "file_write", "file_list"];
        for tool in tools {
            me.tools().put(NewTool::builtin(tool).with_config("root", self.root().to_str().unwrap())).await.unwrap();
        }
        me.agents().put(agent("a", &tools)).await.unwrap();
        let done = me.run("a", "x").await.unwrap();
        assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "went on"));
        let told = told(&provider);
        assert!(!serde_json::to_string(&told).unwrap().contains("canary"), "the secret came out: {told:?}");
        told
    }

    /// Tries to read, write and list each of these paths: each must be refused, and nothing change.
    async fn refuses(&self, paths: &[&str]) {
        let before = self.snapshot();
        for tool in ["file_read", "file_write"] {
            let arguments = |path: &str| match tool {
                "file_read" => json!({"path": path}),
                _ => json!({"path": path, "content": "changed"}),
            };
            let results = self.call(paths.iter().map(|path| (tool, arguments(path))).collect()).await;
            for (path, result) in paths.iter().zip(results) {
                assert!(result.is_error, "{tool} {path:?}: {result:?}");
            }
        }
        assert_eq!(self.snapshot(), before, "something changed");
    }

    /// The names below the house and the contents of the plain files outside of the root.
    fn snapshot(&self) -> (Vec<String>, String) {
        let mut names: Vec<String> = [self.outside().to_owned(), self.root()]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path().display().to_string())
            .collect();
        names.sort();
        (names, fs::read_to_string(self.outside().join("secret.txt")).unwrap())
    }
}

#[tokio::test]
async fn the_file_tools_do_their_work() {
    let house = House::new();
    let told = house.call(vec![("file_write", json!({"path": "new/a.txt", "content": "hello"}))]).await;
    assert!(!told[0].is_error, "{told:?}");
    let told = house.call(vec![("file_read", json!({"path": "new/a.txt"})), ("file_list", json!({}))]).await;
    assert_eq!(told[0].content["content"], "hello");
    assert_eq!(told[1].content["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn t54_no_path_leads_out_of_the_folder() {
    let house = House::new();
    let absolute = house.outside().join("secret.txt").display().to_string();
    house
        .refuses(&[
            "../secret.txt",
            "./../secret.txt",
            "a/../../secret.txt",
            "..",
            "../root/../secret.txt",
            "..\\secret.txt",
            &absolute,
            "/etc/passwd",
            "//etc/passwd",
            "plain.txt/../../secret.txt",
            "CON",
            "nul.txt",
            "",
            ".",
            "a\0b",
            "a\nb",
        ])
        .await;
}

#[tokio::test]
async fn t54_what_only_looks_like_a_way_out_is_a_name_like_any_other() {
    let house = House::new();
    for path in ["%2e%2e/secret.txt", "~/secret.txt", "$HOME/secret.txt"] {
        let told = house.call(vec![("file_write", json!({"path": path, "content": "inside"}))]).await;
        assert!(!told[0].is_error, "{path}: {told:?}");
        assert_eq!(fs::read_to_string(house.root().join(path)).unwrap(), "inside");
    }
    assert_eq!(fs::read_to_string(house.outside().join("secret.txt")).unwrap(), OUTSIDE);
}

#[tokio::test]
async fn t54_links_are_not_followed() {
    let house = House::new();
    let root = house.root();
    std::os::unix::fs::symlink(house.outside().join("secret.txt"), root.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(house.outside(), root.join("folder")).unwrap();
    std::os::unix::fs::symlink("../secret.txt", root.join("relative.txt")).unwrap();
    std::os::unix::fs::symlink("/proc/self/environ", root.join("environ")).unwrap();
    fs::hard_link(house.outside().join("secret.txt"), root.join("hard.txt")).unwrap();
    house.refuses(&["link.txt", "folder/secret.txt", "relative.txt", "environ", "hard.txt"]).await;
    let told = house.call(vec![("file_list", json!({"path": "folder"})), ("file_list", json!({}))]).await;
    assert!(told[0].is_error, "{told:?}");
    let kinds = told[1].content["entries"].to_string();
    assert!(kinds.contains("\"link\""), "a link is shown as one: {kinds}");
}

#[tokio::test]
async fn t54_a_pipe_or_socket_does_not_hang_the_execution() {
    let house = House::new();
    let made = std::process::Command::new("mkfifo").arg(house.root().join("pipe")).status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(house.root().join("socket")).unwrap();
    let began = Instant::now();
    house.refuses(&["pipe", "socket"]).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn t54_ten_sparse_gigabytes_are_read_in_small_pieces() {
    let house = House::new();
    let file = fs::File::create(house.root().join("big")).unwrap();
    file.set_len(10 << 30).unwrap();
    let began = Instant::now();
    let told = house
        .call(vec![
            ("file_read", json!({"path": "big"})),
            ("file_read", json!({"path": "big", "limit": 10_737_418_240_u64})),
            ("file_read", json!({"path": "big", "offset": 10_737_418_000_u64})),
            ("file_read", json!({"path": "big", "offset": u64::MAX})),
        ])
        .await;
    assert!(serde_json::to_string(&told[0]).unwrap().len() < 2 << 20);
    assert!(told[1].is_error, "more than is allowed at once: {:.200}", told[1].as_text());
    assert_eq!(told[2].content["size"], 10_737_418_240_u64);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_write_over_the_cap_is_refused_and_leaves_the_file() {
    let house = House::new();
    let told =
        house.call(vec![("file_write", json!({"path": "plain.txt", "content": "x".repeat((1 << 20) - 40)}))]).await;
    assert!(told[0].is_error || fs::metadata(house.root().join("plain.txt")).unwrap().len() == (1 << 20) - 40);
    fs::write(house.root().join("plain.txt"), "plain").unwrap();
    let (_engine, me, provider) = scripted(vec![
        Reply::tool_call("file_write", json!({"path": "plain.txt", "content": "four"})),
        Reply::text("ok"),
    ])
    .await;
    let tool =
        NewTool::builtin("file_write").with_config("root", house.root().to_str().unwrap()).with_config("max_bytes", 3);
    me.tools().put(tool).await.unwrap();
    me.agents().put(agent("a", &["file_write"])).await.unwrap();
    me.run("a", "x").await.unwrap();
    assert!(told_error(&provider).contains("over 3 bytes"));
    assert_eq!(fs::read_to_string(house.root().join("plain.txt")).unwrap(), "plain");
}

fn told_error(provider: &blitz::provider::Scripted) -> String {
    let result = told(provider).remove(0);
    assert!(result.is_error, "{result:?}");
    result.as_text()
}

#[tokio::test]
async fn t69_settings_of_a_file_tool_that_cannot_be_are_refused() {
    let (_engine, me, _) = scripted(vec![]).await;
    for config in [
        json!({}),
        json!({"root": ""}),
        json!({"root": 5}),
        json!({"root": "/tmp", "more": 1}),
        json!({"root": "/tmp", "max_bytes": 0}),
    ] {
        let tool = json!({"name": "file_read", "kind": "builtin", "config": config});
        assert_eq!(code(me.call("tools.put", tool).await), ErrorCode::InvalidInput, "{config}");
    }
    let missing = NewTool::builtin("file_read").with_config("root", "/no/such/folder");
    me.tools().put(missing).await.unwrap();
    me.agents().put(agent("a", &["file_read"])).await.unwrap();
    assert_eq!(code(me.run("a", "x").await), ErrorCode::NotFound);
}
