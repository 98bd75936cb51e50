//! `lampfield backup`, `restore`, `export` and `import`: a store whose node does not run. One that
//! does copies its store itself: `backup` on the console.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::Context as _;

use super::{FILE_NAME, Store, text};

/// Copies the store of a state directory into a file that does not exist yet. Returns the number of
/// records.
///
/// # Errors
///
/// The store is in use, damaged or not there, or the file cannot be written.
pub fn backup(state_dir: &Path, to: &Path) -> anyhow::Result<usize> {
    existing(state_dir)?.copy_to(to)
}

/// Makes the store of a state directory from a copy. One that is there already stays.
///
/// # Errors
///
/// The copy cannot be read whole, or there is a store.
pub fn restore(state_dir: &Path, from: &Path) -> anyhow::Result<usize> {
    ensure_none(state_dir)?;
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
    let copy = Store::open_file(from.to_owned(), false)?;
    copy.copy_to(&state_dir.join(FILE_NAME))
}

/// Writes the records of a state directory as lines of JSON.
///
/// # Errors
///
/// As [`backup`].
pub fn export(state_dir: &Path, to: Option<&Path>) -> anyhow::Result<usize> {
    let records = existing(state_dir)?.load()?;
    let written = match to {
        None => text::write(&records, &mut BufWriter::new(std::io::stdout().lock())),
        Some(path) => {
            let file = File::create_new(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
            let mut file = BufWriter::new(file);
            text::write(&records, &mut file).and_then(|()| file.get_ref().sync_all())
        }
    };
    written.context("the export is not whole")?;
    Ok(records.len())
}

/// Makes the store of a state directory from what [`export`] wrote.
///
/// # Errors
///
/// The line that cannot be read, lines that are missing, or there is a store already.
pub fn import(state_dir: &Path, from: &Path) -> anyhow::Result<usize> {
    ensure_none(state_dir)?;
    let reading = || format!("cannot read {}", from.display());
    let file = File::open(from).with_context(reading)?;
    let records = text::read(BufReader::new(file)).with_context(reading)?;
    let store = Store::open(state_dir)?;
    store.commit(&records)?;
    Ok(records.len())
}

fn existing(state_dir: &Path) -> anyhow::Result<Store> {
    Store::open_file(state_dir.join(FILE_NAME), false)
}

fn ensure_none(state_dir: &Path) -> anyhow::Result<()> {
    let path = state_dir.join(FILE_NAME);
    let is_there = path.symlink_metadata().is_ok();
    anyhow::ensure!(!is_there, "{} exists: move it away first", path.display());
    Ok(())
}
