//! What survives a restart: the last value of every record, in one redb file.
//!
//! One thread writes. Shards hand it batches and never wait for the disk; what comes within
//! `GATHER_FOR` shares one commit. The file is opened for one process at a time, and after a
//! crash it is usable at once (redb's quick repair).

pub mod offline;
mod text;

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::channel::ToShard;
use anyhow::Context as _;
use async_channel::{Receiver, Sender};
use lampfield_core::record::Record;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

/// Name of the file in the state directory.
pub const FILE_NAME: &str = "lampfield.redb";

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// How long records gather before a commit. A commit waits for the disk anyway.
const GATHER_FOR: Duration = Duration::from_millis(10);

/// Records of one commit at most: bounds its memory and how long it takes.
const COMMIT_MAX: usize = 1000;

/// Batches that may wait for the thread; beyond, they wait on the shards' side.
const BATCH_WAITING_MAX: usize = 1024;

/// Records to be kept, from one sender.
#[derive(Debug)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Who is told the number when they are on the disk.
    pub told: Option<(Sender<ToShard>, u64)>,
    /// A copy that is to be made once they are.
    pub copy: Option<Copy>,
}

/// A copy of the store to be made while it is in use.
#[derive(Debug)]
pub struct Copy {
    /// The file.
    pub to: PathBuf,
    /// Who is told how many records it has.
    pub done: tokio::sync::oneshot::Sender<anyhow::Result<usize>>,
}

impl From<Vec<Record>> for Batch {
    /// Nobody waits for it.
    fn from(records: Vec<Record>) -> Self {
        Self { records, told: None, copy: None }
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
}

/// The thread that writes. It ends when all senders are gone and everything is written.
#[derive(Debug)]
pub struct StoreThread {
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Store {
    /// Opens the store in `state_dir`, making directory and file where they are missing.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and what to do about it.
    pub fn open(state_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
        Self::open_file(state_dir.join(FILE_NAME), true)
    }

    /// Opens a store that may have another name; `may_make` makes it if it is missing.
    fn open_file(path: PathBuf, may_make: bool) -> anyhow::Result<Self> {
        let database = match may_make {
            true => Database::create(&path),
            false => Database::open(&path),
        };
        let database = database.map_err(|error| explain(error, &path))?;
        Ok(Self { database, path })
    }

    /// Writes a copy as it stands now; nobody has to wait for it. Returns the number of records.
    ///
    /// # Errors
    ///
    /// There is a file of that name, or it cannot be written. Nothing of it is left then.
    pub fn copy_to(&self, to: &Path) -> anyhow::Result<usize> {
        let is_there = to.symlink_metadata().is_ok();
        anyhow::ensure!(!is_there, "{} exists: another name is needed", to.display());
        let records = self.load()?;
        let partial = to.with_added_extension("partial");
        // What is left of one that was interrupted.
        let _ = std::fs::remove_file(&partial);
        let copied = Self::open_file(partial.clone(), true).and_then(|copy| copy.commit(&records));
        let moved = copied.and_then(|()| {
            std::fs::rename(&partial, to).with_context(|| format!("cannot make {}", to.display()))
        });
        moved.inspect_err(|_| drop(std::fs::remove_file(&partial)))?;
        Ok(records.len())
    }

    /// Everything that was kept.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn load(&self) -> anyhow::Result<Vec<Record>> {
        let reading = || format!("cannot read {}", self.path.display());
        let transaction = self.database.begin_read().with_context(reading)?;
        let table = match transaction.open_table(RECORDS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(reading),
        };
        let mut records = Vec::new();
        for row in table.iter().with_context(reading)? {
            let (key, value) = row.with_context(reading)?;
            records.push(Record { key: key.value().into(), value: Some(value.value().into()) });
        }
        Ok(records)
    }

    /// Writes records in one transaction, in order; they are on the disk when it returns.
    ///
    /// # Errors
    ///
    /// The disk's refusal; nothing of the batch is kept then.
    pub fn commit(&self, records: &[Record]) -> anyhow::Result<()> {
        let writing = || format!("cannot write {}", self.path.display());
        let mut transaction = self.database.begin_write().with_context(writing)?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(RECORDS).with_context(writing)?;
            for Record { key, value } in records {
                match value {
                    Some(value) => drop(table.insert(&**key, &**value).with_context(writing)?),
                    None => drop(table.remove(&**key).with_context(writing)?),
                }
            }
        }
        transaction.commit().with_context(writing)
    }

    /// Starts the thread that writes, and returns the way to it. Records gather for a while before
    /// they are written, unless somebody waits for them.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn start(self) -> anyhow::Result<(Sender<Batch>, StoreThread)> {
        let (sender, batches) = async_channel::bounded(BATCH_WAITING_MAX);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || self.write_all(&batches))
            .context("cannot start the store's thread")?;
        Ok((sender, StoreThread { thread }))
    }

    fn write_all(self, batches: &Receiver<Batch>) -> anyhow::Result<()> {
        let mut told = Vec::new();
        let mut copies = Vec::new();
        while let Ok(Batch { mut records, told: first, copy }) = batches.recv_blocking() {
            copies.extend(copy);
            // What comes during a commit shares the next one anyway.
            if records.len() < COMMIT_MAX && first.is_none() && !batches.is_closed() {
                thread::sleep(GATHER_FOR);
            }
            told.extend(first);
            while records.len() < COMMIT_MAX
                && let Ok(more) = batches.try_recv()
            {
                records.extend(more.records);
                told.extend(more.told);
                copies.extend(more.copy);
            }
            self.commit_until_done(&records, batches)?;
            for (shard, number) in told.drain(..) {
                // One that has ended waits for nothing.
                let _ = shard.send_blocking(ToShard::Committed(number));
            }
            for Copy { to, done } in copies.drain(..) {
                let _ = done.send(self.copy_to(&to));
            }
        }
        Ok(())
    }

    /// A full disk may get room again: tries on while the node runs, and says so.
    fn commit_until_done(
        &self,
        records: &[Record],
        batches: &Receiver<Batch>,
    ) -> anyhow::Result<()> {
        let mut failures = 0_u32;
        loop {
            match self.commit(records) {
                Ok(()) => return Ok(()),
                Err(error) if batches.is_closed() => return Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::error!(failures, "state is not being kept: {error:#}");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}

impl StoreThread {
    /// Waits until everything is written. All senders must be gone.
    ///
    /// # Errors
    ///
    /// The last batch could not be written.
    pub fn join(self) -> anyhow::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the store's thread panicked")))
    }
}

fn explain(error: DatabaseError, path: &Path) -> anyhow::Error {
    let path_text = path.display();
    let text = match &error {
        DatabaseError::DatabaseAlreadyOpen => {
            format!("{path_text} is in use by another process: is a node already running on it?")
        }
        DatabaseError::Storage(redb::StorageError::Corrupted(what)) => format!(
            "{path_text} is damaged ({what}): move it away to start empty, or restore a copy"
        ),
        DatabaseError::Storage(redb::StorageError::Io(io))
            if io.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            format!("{path_text} is not writable for this user")
        }
        DatabaseError::Storage(redb::StorageError::Io(io))
            if io.kind() == std::io::ErrorKind::InvalidData =>
        {
            format!("{path_text} is not a store: move it away to start empty")
        }
        DatabaseError::UpgradeRequired(_) => {
            format!("{path_text} was written by an older version and must be converted")
        }
        _ => format!("cannot open {path_text}"),
    };
    anyhow::Error::new(error).context(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &[u8], value: Option<&[u8]>) -> Record {
        Record { key: key.into(), value: value.map(Into::into) }
    }

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("lampfield-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn the_last_value_of_every_key_survives() {
        let dir = scratch("survives");
        let store = Store::open(&dir).expect("a new store");
        assert_eq!(store.load().expect("empty"), []);
        let (sender, thread) = store.start().expect("a thread");
        for number in 0_u32..3000 {
            let key = [b'p', (number % 7) as u8];
            let batch =
                vec![record(&key, Some(&number.to_be_bytes())), record(b"gone", Some(b"x"))];
            sender.send_blocking(batch.into()).expect("the thread listens");
        }
        sender.send_blocking(vec![record(b"gone", None)].into()).expect("the thread listens");
        drop(sender);
        thread.join().expect("everything is written");

        let store = Store::open(&dir).expect("the store again");
        let kept = store.load().expect("readable");
        let want: Vec<_> = (0..7_u8)
            .map(|key| {
                let last = (0_u32..3000).rev().find(|n| n % 7 == u32::from(key)).expect("one");
                record(&[b'p', key], Some(&last.to_be_bytes()))
            })
            .collect();
        assert_eq!(kept, want);
        let _ = std::fs::remove_dir_all(dir);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_explained() {
        let dir = scratch("explained");
        let open = || format!("{:#}", Store::open(&dir).map(drop).expect_err("refused"));
        let first = Store::open(&dir).expect("a new store");
        assert!(open().contains("in use by another process"), "{}", open());
        drop(first);
        std::fs::write(dir.join(FILE_NAME), vec![b'x'; 8192]).expect("written");
        assert!(open().contains("is not a store"), "{}", open());
        std::fs::remove_file(dir.join(FILE_NAME)).expect("removed");
        std::fs::create_dir(dir.join(FILE_NAME)).expect("made");
        assert!(open().contains("cannot open"), "{}", open());
        let _ = std::fs::remove_dir_all(dir);
    }
}
