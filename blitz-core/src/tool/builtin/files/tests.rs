use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::domain::Effect;

const CANARY: &str = "canary from outside";

/// A folder for the tools, and one beside it that they must never reach.
struct Place {
    _home: tempfile::TempDir,
    inside: std::path::PathBuf,
    outside: std::path::PathBuf,
    root: Dir,
}

fn place() -> Place {
    let home = tempfile::tempdir().unwrap();
    let (inside, outside) = (home.path().join("inside"), home.path().join("outside"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.txt"), CANARY).unwrap();
    let root = Dir::open_ambient_dir(&inside, ambient_authority()).unwrap();
    Place { _home: home, inside, outside, root }
}

fn read_all(place: &Place, path: &str) -> Result<Value, String> {
    read_part(place, path, 0, None)
}

fn read_part(place: &Place, path: &str, offset: u64, limit: Option<u64>) -> Result<Value, String> {
    read(&place.root, &ReadArgs { path: path.to_owned(), offset, limit }, DEFAULT_MAX_BYTES)
}

fn write_all(place: &Place, path: &str, content: &str) -> Result<Value, String> {
    write(&place.root, path, content, false, 100)
}

/// Neither read, written nor listed, and nothing of the outside seen or changed.
fn refused(place: &Place, path: &str) {
    for outcome in [read_all(place, path), write_all(place, path, "overwritten"), list(&place.root, path)] {
        let message = outcome.unwrap_err();
        assert!(!message.contains(CANARY) && !message.contains(place.inside.to_str().unwrap()), "{message}");
    }
    assert_eq!(fs::read_to_string(place.outside.join("secret.txt")).unwrap(), CANARY);
}

#[test]
fn files_are_written_read_and_listed() {
    let place = place();
    assert_eq!(write_all(&place, "notes/a.txt", "hello").unwrap(), json!({"path": "notes/a.txt", "size": 5}));
    write_all(&place, "notes/a.txt", "héllo").unwrap();
    assert_eq!(
        read_all(&place, "./notes//a.txt").unwrap(),
        json!({"path": "notes/a.txt", "content": "héllo", "offset": 0, "size": 6})
    );
    fs::create_dir(place.inside.join("notes/deep")).unwrap();
    symlink(&place.outside, place.inside.join("notes/way")).unwrap();
    let listed = list(&place.root, "notes").unwrap();
    assert_eq!(
        listed["entries"],
        json!([{"name": "a.txt", "kind": "file", "size": 6}, {"name": "deep", "kind": "folder"}, {"name": "way", "kind": "link"}])
    );
    assert_eq!(list(&place.root, "").unwrap()["entries"][0]["name"], "notes");
}

#[test]
fn appending_keeps_what_is_there_and_is_capped() {
    let place = place();
    let append = |content: &str| write(&place.root, "log", content, true, 6);
    append("one").unwrap();
    append("two").unwrap();
    assert!(append("3").unwrap_err().contains("over 6 bytes"));
    assert_eq!(fs::read_to_string(place.inside.join("log")).unwrap(), "onetwo");
}

#[test]
fn a_slice_holds_whole_characters() {
    let place = place();
    fs::write(place.inside.join("t"), "aé漢z").unwrap();
    let part = read_part(&place, "t", 0, Some(5)).unwrap();
    assert_eq!((&part["content"], &part["next_offset"]), (&json!("aé"), &json!(3)));
    let part = read_part(&place, "t", 4, Some(5)).unwrap();
    assert_eq!((&part["content"], &part["offset"]), (&json!("z"), &json!(6)));
    fs::write(place.inside.join("b"), b"ok\xff\xfe").unwrap();
    let part = read_all(&place, "b").unwrap();
    assert_eq!(part["content"], "ok\u{fffd}\u{fffd}");
    assert!(part["note"].as_str().unwrap().contains("not UTF-8"));
}

#[test]
fn t54_paths_that_lead_out_or_name_devices_are_refused() {
    let place = place();
    fs::create_dir(place.inside.join("sub")).unwrap();
    let absolute = place.outside.join("secret.txt");
    for path in [
        "../outside/secret.txt",
        "sub/../../outside/secret.txt",
        "..",
        absolute.to_str().unwrap(),
        "/etc/passwd",
        "//etc/passwd",
        "..\\outside\\secret.txt",
        "C:\\x",
        "C:x",
        "\\\\host\\share",
        "a\0b",
        "a\nb",
        "CON",
        "con.txt",
        "CoN .txt",
        "sub/NUL",
        "aux",
        "LPT1.log",
        "com9",
        "x. ",
        "x.",
        "file.txt::$DATA",
        "\u{2025}/x\u{7}",
    ] {
        refused(&place, path);
    }
    refused(&place, &"a/".repeat(100));
    refused(&place, &"a".repeat(300));
    for path in ["", ".", "./"] {
        read_all(&place, path).unwrap_err();
        write_all(&place, path, "x").unwrap_err();
    }
}

#[test]
fn t54_symbolic_links_are_not_followed() {
    let place = place();
    symlink(&place.outside, place.inside.join("folder")).unwrap();
    symlink(place.outside.join("secret.txt"), place.inside.join("file.txt")).unwrap();
    symlink(place.outside.join("new.txt"), place.inside.join("dangling")).unwrap();
    fs::create_dir(place.inside.join("real")).unwrap();
    symlink("real", place.inside.join("inner")).unwrap();
    fs::write(place.inside.join("real/x"), "x").unwrap();
    for path in ["folder/secret.txt", "folder/new.txt", "file.txt", "dangling", "inner/x"] {
        refused(&place, path);
    }
    list(&place.root, "folder").unwrap_err();
    assert!(!place.outside.join("new.txt").exists());
}

#[test]
fn t54_hard_links_pipes_and_folders_are_no_files() {
    let place = place();
    fs::hard_link(place.outside.join("secret.txt"), place.inside.join("hard")).unwrap();
    refused(&place, "hard");
    assert!(std::process::Command::new("mkfifo").arg(place.inside.join("pipe")).status().unwrap().success());
    let start = Instant::now();
    refused(&place, "pipe");
    assert!(start.elapsed() < Duration::from_secs(5));
    let _listener = std::os::unix::net::UnixListener::bind(place.inside.join("socket")).unwrap();
    refused(&place, "socket");
    fs::create_dir(place.inside.join("folder")).unwrap();
    assert!(read_all(&place, "folder").unwrap_err().contains("folder"));
    write_all(&place, "folder", "x").unwrap_err();
}

#[test]
fn t54_a_huge_file_is_read_in_slices() {
    let place = place();
    let file = fs::File::create(place.inside.join("huge")).unwrap();
    file.set_len(10 << 30).unwrap();
    let part = read_part(&place, "huge", 9 << 30, Some(10)).unwrap();
    assert_eq!(part["content"], "\0".repeat(10));
    assert_eq!(part["size"], 10u64 << 30);
    assert_eq!(read_all(&place, "huge").unwrap()["next_offset"], DEFAULT_READ);
    assert!(read_part(&place, "huge", 0, Some(LARGEST_READ + 1)).unwrap_err().contains("in pieces"));
    assert_eq!(read_part(&place, "huge", u64::MAX / 2, None).unwrap()["content"], "");
    assert!(write(&place.root, "huge", "x", true, DEFAULT_MAX_BYTES).unwrap_err().contains("over"));
    assert!(write_all(&place, "big", &"x".repeat(101)).unwrap_err().contains("over 100 bytes"));
}

#[test]
fn t54_a_folder_swapped_for_a_link_never_leads_out() {
    let place = place();
    let (way, parked) = (place.inside.join("way"), place.inside.join("parked"));
    fs::create_dir(&way).unwrap();
    fs::write(way.join("secret.txt"), "inside").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&way, &parked, &place.outside, &stop));
        let (mut good, mut round) = (0, 0);
        // On a busy machine it may take a while until a read meets the folder.
        while round < 3_000 || (good == 0 && round < 300_000) {
            round += 1;
            if let Ok(part) = read_all(&place, "way/secret.txt") {
                assert!(part["content"] != CANARY);
                good += 1;
            }
            write(&place.root, "way/written.txt", &round.to_string(), false, 100).ok();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(good > 0, "no read ever met the folder");
    });
    assert!(!place.outside.join("written.txt").exists());
}

fn swap(way: &Path, parked: &Path, outside: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        fs::rename(way, parked).unwrap();
        symlink(outside, way).ok();
        fs::remove_file(way).ok();
        // A write may make the folder again while it is away.
        while fs::rename(parked, way).is_err() {
            fs::remove_dir_all(way).ok();
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let place = place();
    write_all(&place, "a", "old").unwrap();
    write_all(&place, "a", &"x".repeat(101)).unwrap_err();
    assert_eq!(fs::read_to_string(place.inside.join("a")).unwrap(), "old");
    assert_eq!(fs::read_dir(&place.inside).unwrap().count(), 1);
}

#[test]
fn a_long_listing_is_cut_with_a_note() {
    let place = place();
    for i in 0..MAX_ENTRIES + 1 {
        fs::write(place.inside.join(format!("f{i:04}")), "").unwrap();
    }
    let listed = list(&place.root, "").unwrap();
    assert_eq!(listed["entries"].as_array().unwrap().len(), MAX_ENTRIES);
    assert_eq!(listed["entries"][0]["name"], "f0000");
    assert!(listed["note"].is_string());
}

#[test]
fn settings_are_checked_and_decide_the_effect() {
    let parse = |config: Value| FileConfig::parse(config.as_object().unwrap());
    for config in [
        json!({}),
        json!({"root": ""}),
        json!({"root": 1}),
        json!({"root": "/", "x": 1}),
        json!({"root": "/", "max_bytes": 0}),
    ] {
        parse(config).unwrap_err();
    }
    let place = place();
    let root = place.inside.to_str().unwrap();
    assert_eq!(read_tool(parse(json!({"root": root})).unwrap()).unwrap().effect(), Effect::Pure);
    assert_eq!(write_tool(parse(json!({"root": root})).unwrap()).unwrap().effect(), Effect::Idempotent);
    let appending = write_tool(parse(json!({"root": root, "append": true})).unwrap()).unwrap();
    assert_eq!(appending.effect(), Effect::Unsafe);
    assert_eq!(appending.spec(), write_spec(true));
    let missing = parse(json!({"root": place.inside.join("none").to_str().unwrap()})).unwrap();
    assert_eq!(list_tool(missing).unwrap_err().code(), ErrorCode::NotFound);
}
