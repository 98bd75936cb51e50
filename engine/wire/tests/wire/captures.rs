//! Messages kept as files under `tests/captures`.

use std::path::PathBuf;

/// Every file of a folder below `tests/captures`, sorted by name: name without suffix, bytes.
pub(crate) fn folder(name: &str) -> Vec<(String, Vec<u8>)> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/captures", name].iter().collect();
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension().is_some())
        .map(|path| {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            (stem, std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", path.display());
    files
}

/// One capture of a real Asterisk.
pub(crate) fn asterisk(name: &str) -> Vec<u8> {
    let wanted = format!("asterisk-{name}");
    let found = folder("").into_iter().find(|(stem, _)| *stem == wanted);
    found.unwrap_or_else(|| panic!("no capture {wanted}")).1
}

/// Every SIP message of every folder.
pub(crate) fn every_message() -> Vec<(String, Vec<u8>)> {
    ["", "rfc4475", "rfc5118"].into_iter().flat_map(folder).collect()
}
