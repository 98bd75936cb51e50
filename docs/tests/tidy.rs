//! House rules as tests: lengths, bans, direction of use, paths in documents.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("docs lies in the repository").into()
}

/// Every file below `dir` whose name ends with `suffix`, but nothing built or hidden.
fn files(dir: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).expect("a readable directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, suffix, found);
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root(), ".rs", &mut found);
    assert!(found.len() > 50, "the walk finds the sources");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable source");
        let name =
            path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        (name, text)
    };
    found.into_iter().map(read).collect()
}

fn offenders(is_bad: impl Fn(&str, &str) -> bool) -> Vec<String> {
    sources().into_iter().filter(|(name, text)| is_bad(name, text)).map(|(name, _)| name).collect()
}

#[test]
fn files_stay_readable() {
    let long = offenders(|_, text| text.lines().count() > 600);
    assert!(long.is_empty(), "more than 600 lines: {long:?}");
}

#[test]
fn every_source_says_what_it_is_for() {
    let silent = offenders(|_, text| !text.starts_with("//!") && !text.starts_with("#![doc"));
    assert!(silent.is_empty(), "no module documentation at the top: {silent:?}");
}

#[test]
fn unsafe_code_lives_in_net_only() {
    // Split, so that this file does not find itself.
    let words = [concat!("uns", "afe {"), concat!("uns", "afe fn"), concat!("uns", "afe impl")];
    let bad = offenders(|name, text| {
        !name.starts_with("engine/net/") && words.iter().any(|word| text.contains(word))
    });
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("#[ign", "ore"),
    ];
    let bad = offenders(|_, text| words.iter().any(|word| text.contains(word)));
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn the_core_knows_no_clock_runtime_or_socket() {
    let words = [
        "Instant::now",
        "SystemTime::now",
        "glommio",
        "tokio",
        "UdpSocket",
        "TcpStream",
        "std::thread",
        "std::fs",
    ];
    let bad = offenders(|name, text| {
        name.starts_with("engine/core/src/") && words.iter().any(|word| text.contains(word))
    });
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn crates_depend_in_one_direction() {
    for (manifest, banned) in [
        ("engine/wire", &["lampfield-core", "lampfield-net", "glommio", "tokio"][..]),
        ("engine/core", &["lampfield-net", "glommio", "tokio", "libc"]),
        ("engine/net", &["lampfield-core"]),
        ("engine/sim", &["lampfield-net", "glommio", "tokio"]),
        ("loadgen", &["lampfield-core", "glommio"]),
    ] {
        let text =
            fs::read_to_string(root().join(manifest).join("Cargo.toml")).expect("a manifest");
        let runtime = text.split("[dev-dependencies]").next().unwrap_or_default();
        for name in banned {
            let uses = runtime.lines().any(|line| line.starts_with(&format!("{name}.")));
            assert!(!uses, "{manifest} depends on {name}");
        }
    }
}

#[test]
fn paths_and_links_in_documents_exist() {
    let mut pages = Vec::new();
    files(&root(), ".md", &mut pages);
    assert!(pages.len() > 5, "the walk finds the documents");
    for page in pages {
        let text = fs::read_to_string(&page).expect("a readable page");
        assert!(text.starts_with("# "), "{} has no title", page.display());
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let files = links.filter(|link| !link.starts_with("http") && !link.starts_with('#'));
        for link in files {
            let target =
                page.parent().expect("a directory").join(link.split('#').next().unwrap_or(link));
            assert!(target.exists(), "{}: {link} does not exist", page.display());
        }
        let quoted = text.split('`').skip(1).step_by(2);
        for path in quoted.filter(|word| word.starts_with("engine/") || word.starts_with("docs/")) {
            let path = path.split(['*', ' ', ':']).next().unwrap_or(path);
            assert!(root().join(path).exists(), "{}: {path} does not exist", page.display());
        }
    }
}
