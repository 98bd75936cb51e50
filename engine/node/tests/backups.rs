//! What is kept can be copied, beside a running node or without one, and a copy makes a store.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lampfield::store::Store;
use lampfield_core::record::Record;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("lampfield-backups-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lampfield(command: &str, state_dir: &str, file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lampfield"))
        .args([command, "--state-dir", state_dir, file])
        .output()
        .expect("lampfield runs")
}

fn did(command: &str, state_dir: &str, file: &str) {
    let output = lampfield(command, state_dir, file);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.ends_with("3 records\n"), "{command}: {said}");
}

fn refused(command: &str, state_dir: &str, file: &str, why: &str) {
    let output = lampfield(command, state_dir, file);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(why), "{command}: {said}");
}

fn records() -> Vec<Record> {
    let record = |key: &[u8], value: &[u8]| Record { key: key.into(), value: Some(value.into()) };
    vec![
        record(b"D\x00\x00Custom:a", b"1"),
        record(b"D\x00\x00Custom:b", b"2"),
        record(b"Sx", b"3"),
    ]
}

fn kept(state_dir: &str) -> Vec<Record> {
    Store::open(Path::new(state_dir)).expect("a store").load().expect("readable")
}

#[test]
fn copies_are_whole_overwrite_nothing_and_come_back() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    let store = Store::open(Path::new(&path("state"))).expect("a store");
    store.commit(&records()).expect("written");
    // As a node that runs does it.
    refused("backup", &path("state"), &path("b"), "in use by another process");
    assert_eq!(store.copy_to(Path::new(&path("live"))).expect("a copy"), 3);
    assert!(store.copy_to(Path::new(&path("live"))).is_err(), "the name is taken");
    drop(store);
    did("backup", &path("state"), &path("b"));
    did("export", &path("state"), &path("e"));
    for (command, file) in [("backup", "b"), ("export", "e")] {
        refused(command, &path("state"), &path(file), "exist");
    }
    refused("backup", &path("none"), &path("x"), "none");
    for (command, file) in [("restore", "live"), ("restore", "b"), ("import", "e")] {
        let state_dir = path(&format!("{command}-{file}"));
        did(command, &state_dir, &path(file));
        assert_eq!(kept(&state_dir), records(), "{command} {file}");
        refused(command, &state_dir, &path(file), "move it away first");
    }
    // Torn, or of another kind: refused, and nothing is made of it.
    let whole = std::fs::read(path("e")).expect("an export");
    std::fs::write(path("torn"), &whole[..whole.len() - 12]).expect("written");
    refused("import", &path("new"), &path("torn"), "not whole");
    std::fs::write(path("torn-copy"), &std::fs::read(path("b")).expect("a backup")[..9000])
        .expect("written");
    refused("restore", &path("new"), &path("torn-copy"), "torn-copy");
    refused("restore", &path("new"), &path("e"), "not a store");
    assert!(!Path::new(&path("new/lampfield.redb")).exists());
}
