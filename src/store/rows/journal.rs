//! The journal: what is committed and not in the tables yet, in two files beside the database.
//!
//! **Invariant:** a record for which [`Journal::append`] has returned is on the disk, and stays
//! until the tables have what it says. A record that a crash has cut is not read.
//!
//! Records are appended to one file, while a writer moves what the other one says to the tables.
//! [`Journal::switch`] changes files, once that has been done. Files are written over in place: a
//! sync then writes data alone, not lengths.
//!
//! | record | |
//! |---|---|
//! | u64 | number: one more than that of the record before |
//! | u32 | length of the body |
//! | 20 bytes | SHA-1 of the store id of this start, the number, and the body |
//! | | body, see `record` |
//!
//! A record of an earlier use of the file has a smaller number or another store id, and so ends
//! what is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use super::super::database::{StoreError, keep_private};
use super::super::files::{failed, remove, sync_directory_of};
use super::damaged;
use crate::types::StoreId;

/// Names of the two files in a tracker's data directory.
const FILES: [&str; 2] = ["directory.journal-0", "directory.journal-1"];
/// Bytes in front of a record's body.
pub(super) const HEADER_LEN: usize = 8 + 4 + 20;

/// The journal of one start, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    paths: [PathBuf; 2],
    files: [File; 2],
    store: StoreId,
    /// Which file is appended to.
    current: usize,
    /// Bytes of the records in it.
    len: usize,
    /// Number of the last record.
    number: u64,
}

impl Journal {
    /// Begins the journal of a start under the id `store`: its first record is the one behind
    /// `number`. The tables have what earlier starts wrote.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the files cannot be made.
    pub(super) fn begin(directory: &Path, store: StoreId, number: u64) -> Result<Self, StoreError> {
        let paths = FILES.map(|name| directory.join(name));
        let open = |path: &PathBuf| {
            keep_private(path);
            OpenOptions::new().write(true).open(path).map_err(failed(path))
        };
        let files = [open(&paths[0])?, open(&paths[1])?];
        sync_directory_of(&paths[0])?;
        Ok(Self { paths, files, store, current: 0, len: 0, number })
    }

    /// Number of the last record.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the records since the last switch.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a record: room for the header, then the body. When this returns it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the disk is full or fails. Nothing may be appended after that.
    pub(super) fn append(&mut self, record: &mut [u8]) -> Result<(), StoreError> {
        let number = self.number + 1;
        let (header, body) = record.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&header_of(self.store, number, body));
        let mut file = &self.files[self.current];
        file.write_all(record)
            .and_then(|()| file.sync_data())
            .map_err(failed(&self.paths[self.current]))?;
        self.number = number;
        self.len += record.len();
        Ok(())
    }

    /// Appends to the other file from now on. The tables have what its records say.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the system fails.
    pub(super) fn switch(&mut self) -> Result<(), StoreError> {
        self.current = 1 - self.current;
        self.len = 0;
        self.files[self.current].rewind().map_err(failed(&self.paths[self.current]))
    }

    /// Makes every append fail as on a full disk.
    #[cfg(test)]
    pub(super) fn fill_disk(&mut self) {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        self.files = [full(), full()];
    }
}

/// Removes the files. The tables have what they say, or there are no tables any more.
pub(super) fn remove_files(directory: &Path) -> Result<(), StoreError> {
    FILES.iter().try_for_each(|name| remove(&directory.join(name)))
}

/// Reads the bodies of the records that the start under the id `store` wrote, and that the tables
/// do not have yet: those behind the record `moved`. They are as many bytes at most as may wait.
///
/// # Errors
/// [`StoreError::Damaged`] if one is missing, [`StoreError::Io`] if the disk fails.
pub(super) fn read(
    directory: &Path,
    store: StoreId,
    moved: u64,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let paths = FILES.map(|name| directory.join(name));
    let mut files = Vec::new();
    for path in &paths {
        let (first, bodies) = read_file(path, store).map_err(failed(path))?;
        files.push((first, bodies, path));
    }
    files.sort_by_key(|(first, ..)| *first);
    let (mut last, mut unmoved) = (moved, Vec::new());
    for (first, bodies, path) in files {
        for (number, body) in (first..).zip(bodies) {
            if number <= last {
                continue;
            }
            if number != last + 1 {
                let why = format!("changes {} to {} are missing in it", last + 1, number - 1);
                return Err(damaged(path, why));
            }
            last = number;
            unmoved.push(body);
        }
    }
    Ok(unmoved)
}

/// The number of the first record of a file, and the bodies of all.
fn read_file(path: &Path, store: StoreId) -> io::Result<(u64, Vec<Vec<u8>>)> {
    let mut file = match File::open(path) {
        Ok(file) => io::BufReader::new(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(e) => return Err(e),
    };
    let mut left = file.get_ref().metadata()?.len();
    let (mut first, mut bodies) = (0, Vec::new());
    let mut header = [0; HEADER_LEN];
    while left >= HEADER_LEN as u64 {
        file.read_exact(&mut header)?;
        left -= HEADER_LEN as u64;
        let (number, rest) = header.split_first_chunk().expect("the header has a number");
        let (len, _) = rest.split_first_chunk().expect("the header has a length");
        let (number, len) = (u64::from_be_bytes(*number), u32::from_be_bytes(*len));
        if u64::from(len) > left || !bodies.is_empty() && number != first + bodies.len() as u64 {
            break;
        }
        let mut body = vec![0; len as usize];
        file.read_exact(&mut body)?;
        left -= u64::from(len);
        if header != header_of(store, number, &body) {
            break;
        }
        if bodies.is_empty() {
            first = number;
        }
        bodies.push(body);
    }
    Ok((first, bodies))
}

fn header_of(store: StoreId, number: u64, body: &[u8]) -> [u8; HEADER_LEN] {
    let len = u32::try_from(body.len()).expect("a record is far shorter");
    let digest = Sha1::new()
        .chain_update(store.as_bytes())
        .chain_update(number.to_be_bytes())
        .chain_update(body);
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&number.to_be_bytes());
    header[8..12].copy_from_slice(&len.to_be_bytes());
    header[12..].copy_from_slice(&digest.finalize());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId::from_bytes([7; 16]);

    fn append(journal: &mut Journal, body: &[u8]) {
        let mut record = [&[0; HEADER_LEN], body].concat();
        journal.append(&mut record).unwrap();
    }

    fn path(dir: &tempfile::TempDir, file: usize) -> PathBuf {
        dir.path().join(FILES[file])
    }

    /// A record is read whole or not at all, wherever the file was cut or changed.
    #[test]
    fn what_is_read_is_a_beginning_of_what_was_appended() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(dir.path(), STORE, 4).unwrap();
        let bodies: [&[u8]; 4] = [b"one", b"", b"three", b"four"];
        bodies.iter().for_each(|body| append(&mut journal, body));
        assert_eq!(read(dir.path(), STORE, 4).unwrap(), bodies);
        assert_eq!(read(dir.path(), STORE, 6).unwrap(), bodies[2..]);
        assert_eq!(read(dir.path(), STORE, 8).unwrap(), [b""; 0]);
        assert_eq!(read(dir.path(), StoreId::from_bytes([8; 16]), 0).unwrap(), [b""; 0]);
        let whole = std::fs::read(path(&dir, 0)).unwrap();
        for len in 0..whole.len() {
            std::fs::write(path(&dir, 0), &whole[..len]).unwrap();
            let ends = (0..=4usize).map(|n| bodies[..n].iter().map(|b| b.len() + HEADER_LEN).sum());
            let count = ends.filter(|end: &usize| *end <= len).count() - 1;
            assert_eq!(read(dir.path(), STORE, 4).unwrap(), bodies[..count], "{len} bytes");
            for bit in [0, 5] {
                let mut bytes = whole.clone();
                bytes[len] ^= 1 << bit;
                std::fs::write(path(&dir, 0), &bytes).unwrap();
                // The first record's number tells where the file begins.
                let found = read(dir.path(), STORE, 4).unwrap();
                assert_eq!(found, bodies[..found.len()], "bit {bit} of byte {len}");
                assert!(found.len() < 4);
            }
        }
    }

    #[test]
    fn a_file_that_is_written_over_is_read_to_its_last_new_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(dir.path(), STORE, 0).unwrap();
        for number in 1..=9u8 {
            append(&mut journal, &[number; 3]);
            if number.is_multiple_of(4) {
                journal.switch().unwrap();
            }
        }
        // 9, with 2 to 4 behind it; 5 to 8.
        let numbers = |moved| -> Vec<u8> {
            read(dir.path(), STORE, moved).unwrap().iter().map(|body| body[0]).collect()
        };
        assert_eq!(numbers(4), [5, 6, 7, 8, 9]);
        assert_eq!(numbers(8), [9]);
        let error = read(dir.path(), STORE, 3).unwrap_err().to_string();
        assert!(error.contains("changes 4 to 4 are missing"), "{error}");
        std::fs::remove_file(path(&dir, 1)).unwrap();
        assert!(matches!(read(dir.path(), STORE, 4), Err(StoreError::Damaged { .. })));
        assert_eq!(numbers(8), [9]);
        remove_files(dir.path()).unwrap();
        assert_eq!(numbers(8), [0u8; 0]);
    }

    #[test]
    fn a_full_disk_is_an_error_and_nothing_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(dir.path(), STORE, 0).unwrap();
        journal.fill_disk();
        let full = journal.append(&mut [0; HEADER_LEN + 1]).unwrap_err();
        assert!(full.to_string().contains("directory.journal-0"), "{full}");
        assert_eq!((journal.number(), journal.len()), (0, 0));
    }
}
