//! The audit's file: a line of JSON for every change that is carried out or merged here.
//!
//! **Invariant:** the core never waits for this file. What does not fit into the queue, or not on
//! the disk, is counted, and the count is the next line that is written.
//!
//! [`AuditLog::note`] runs on the core's thread, [`AuditLog::run`] on a thread of its own, which
//! blocks on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{info, warn};

use super::audit_entry::AuditEntry;
use super::config::TrackerError;
use crate::directory::{Directory, Rows};
use crate::net::Stop;
use crate::types::{Transaction, escape_json};

/// Changes that wait to be written: at 1 KiB each some 16 MiB.
const WAITING_MAX: usize = 16_384;
/// Changes written with one call.
const BATCH_MAX: usize = 256;

/// The way to the audit's file.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    file: File,
    sender: Sender<AuditEntry>,
    waiting: Receiver<AuditEntry>,
    /// Changes that are not in the file, and that it does not tell of yet.
    lost: AtomicU64,
}

impl AuditLog {
    /// Opens the file for appending, or makes it, readable by its owner alone.
    ///
    /// # Errors
    /// [`TrackerError::Audit`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, TrackerError> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|source| TrackerError::Audit { path: path.clone(), source })?;
        let (sender, waiting) = bounded(WAITING_MAX);
        Ok(Self { path, file, sender, waiting, lost: AtomicU64::new(0) })
    }

    /// Takes the changes of transactions that are on the disk.
    pub(crate) fn note(&self, transactions: &[Transaction], directory: &Directory<impl Rows>) {
        let rows = transactions.iter().flat_map(|transaction| &transaction.rows);
        for entry in rows.filter_map(|row| AuditEntry::of(row, directory)) {
            if self.sender.try_send(entry).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes until `stop` is set and nothing waits any more.
    ///
    /// # Blocking
    /// On the disk; until stopped.
    pub(crate) fn run(&self, stop: &Stop) {
        let mut writer = Writer { failed: false, is_torn: false };
        loop {
            let first = select! {
                recv(self.waiting) -> entry => entry.ok(),
                recv(stop.channel()) -> _ => None,
            };
            let is_over = first.is_none();
            let batch: Vec<AuditEntry> =
                first.into_iter().chain(self.waiting.try_iter()).take(BATCH_MAX).collect();
            if is_over && batch.is_empty() {
                return;
            }
            self.write(&mut writer, &batch);
        }
    }

    fn write(&self, writer: &mut Writer, batch: &[AuditEntry]) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut text = String::new();
        // A write that failed may have left a part of a line.
        if writer.is_torn {
            text.push('\n');
        }
        if lost > 0 {
            text.push_str(&format!("{{\"lost\":{lost}}}\n"));
        }
        for entry in batch {
            text.push_str(&escape_json(&entry.to_json().to_string()));
            text.push('\n');
        }
        match write_all(&self.file, text.as_bytes()) {
            Ok(()) => {
                writer.is_torn = false;
                if std::mem::take(&mut writer.failed) {
                    info!("{}: the audit is written again", self.path.display());
                }
            }
            Err(error) => {
                self.lost.fetch_add(lost + batch.len() as u64, Ordering::Relaxed);
                writer.is_torn = true;
                if !std::mem::replace(&mut writer.failed, true) {
                    warn!(
                        "{}: cannot write the audit: {error}; this tracker goes on without it until it can",
                        self.path.display()
                    );
                }
            }
        }
    }
}

/// What became of the last write.
struct Writer {
    failed: bool,
    is_torn: bool,
}

fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{
        Content, Effect, Place, RequestId, RequestRow, Row, Stamp, StoreId, UserId, Version,
    };

    fn transaction(number: u8) -> Transaction {
        let request = RequestId::from_bytes([number; 16]);
        let row = RequestRow {
            actor: UserId::NOBODY,
            effect: Effect::Done,
            note: "set accounts closed; by the operator".into(),
        };
        let row = Row {
            content: Content::Request(request, row),
            version: Version { stamp: Stamp::new(1_000, 0), request },
            place: Place { store: StoreId::from_bytes([2; 16]), sequence: 1 },
            extra: Box::default(),
        };
        Transaction { rows: vec![row], ..Transaction::default() }
    }

    #[test]
    fn changes_are_appended_and_those_that_cannot_be_are_counted() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for _ in 0..2 {
            let log = AuditLog::open(path.clone()).unwrap();
            log.note(&[transaction(1), transaction(2)], &<Directory>::default());
            let stop = Stop::new();
            stop.set();
            log.run(&stop);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\"name\":\"accounts closed\"").count(), 4, "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let full = AuditLog::open("/dev/full".into()).unwrap();
        full.note(&[transaction(1)], &<Directory>::default());
        let mut writer = Writer { failed: false, is_torn: false };
        full.write(&mut writer, &full.waiting.try_iter().collect::<Vec<_>>());
        assert!(writer.failed && full.lost.load(Ordering::Relaxed) == 1);
    }
}
