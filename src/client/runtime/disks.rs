//! File system work, with separate threads for each mount.
//!
//! **Invariant:** a mount that hangs delays its own work only. A path's mount is looked up in the
//! system's table, without touching the path itself.
//!
//! A path may lead to another mount through a symbolic link, which the table does not show. So a
//! mount has several threads, and gets one more whenever the others are busy.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use crate::client::error::ClientError;
use crate::client::session::DISK_TIMEOUT;
use crate::net::{Threads, Workers};

/// Maximum number of threads for one mount.
const PER_MOUNT_MAX: usize = 8;
/// Maximum number of mounts that are kept; beyond it all are dropped and started again on demand.
const MOUNTS_MAX: usize = 256;
/// Lifetime of the cached table: a login checks thousands of files.
const TABLE_AGE_MAX: Duration = Duration::from_secs(1);

/// The workers of every mount in use.
pub(crate) struct Disks {
    threads: Threads,
    mounts: Mutex<HashMap<PathBuf, Workers>>,
    table: Mutex<Option<(Instant, Arc<Table>)>>,
}

impl Disks {
    pub(super) fn new(threads: &Threads) -> Self {
        Self { threads: threads.clone(), mounts: Mutex::default(), table: Mutex::default() }
    }

    /// Runs work that may wait for the mount of that path.
    pub(crate) fn run(&self, path: &Path, work: impl FnOnce() + Send + 'static) {
        self.run_at(self.mount_of(path), work);
    }

    /// The same for a mount.
    pub(super) fn run_at(&self, mount: PathBuf, work: impl FnOnce() + Send + 'static) {
        let workers = {
            let mut mounts = self.mounts.lock();
            if mounts.len() >= MOUNTS_MAX && !mounts.contains_key(&mount) {
                mounts.clear();
            }
            let start = || Workers::new("disk", PER_MOUNT_MAX, &self.threads);
            mounts.entry(mount).or_insert_with(start).clone()
        };
        workers.run(work);
    }

    /// The mount point of a path, according to the system's table.
    pub(super) fn mount_of(&self, path: &Path) -> PathBuf {
        let known = self.table.lock().clone();
        let known = known.filter(|(read, _)| read.elapsed() < TABLE_AGE_MAX);
        let table = known.map_or_else(
            || {
                let table = Arc::new(Table::read());
                *self.table.lock() = Some((Instant::now(), table.clone()));
                table
            },
            |(_, table)| table,
        );
        table.mount_of(path)
    }

    /// Runs work on the mount of that path, and waits for the result.
    ///
    /// # Errors
    /// [`ClientError::Path`] if the mount does not answer.
    ///
    /// # Blocking
    /// For at most [`DISK_TIMEOUT`]. The work itself may go on.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        self.within_or(path, work, drop)
    }

    /// The same; `undo` receives a result that came after the timeout.
    ///
    /// # Errors
    /// [`ClientError::Path`] if the mount does not answer.
    ///
    /// # Blocking
    /// For at most [`DISK_TIMEOUT`].
    pub(crate) fn within_or<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, ClientError> {
        // Capacity 0: a send succeeds only if the caller has received the result.
        let (sender, result) = bounded(0);
        self.run(path, move || {
            if let Err(late) = sender.send(work()) {
                undo(late.0);
            }
        });
        result
            .recv_timeout(DISK_TIMEOUT)
            .map_err(|_| ClientError::path(path, self.hanging_text(path)))
    }

    /// Says that the mount of that path does not answer.
    pub(crate) fn hanging_text(&self, path: &Path) -> String {
        let mount = self.mount_of(path);
        format!("its disk does not answer; look at what is mounted at {}", mount.display())
    }

    /// Starts no more work; does not wait for a mount that hangs.
    pub(super) fn close(&self) {
        let mounts = std::mem::take(&mut *self.mounts.lock());
        mounts.into_values().for_each(|workers| workers.close(Duration::ZERO));
    }
}

/// The mount points of the system's table.
struct Table(Vec<PathBuf>);

impl Table {
    fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(table: &str) -> Self {
        // proc(5): the fifth field is the mount point, with octal escapes.
        Self(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect())
    }

    fn mount_of(&self, path: &Path) -> PathBuf {
        let points = self.0.iter().filter(|point| path.starts_with(point));
        let longest = points.max_by_key(|point| point.as_os_str().len());
        longest.cloned().unwrap_or_else(|| PathBuf::from("/"))
    }
}

/// Undoes the octal escapes of the table: space, tab, newline and backslash.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, plain);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_counts() {
        let table = "22 1 8:1 / / rw - ext4 /dev/a rw\n\
                     30 22 0:5 / /mnt/my\\040disk rw - fuse x rw\n\
                     31 22 0:6 / /mnt rw - tmpfs x rw\n";
        let table = Table::parse(table);
        let mount = |path: &str| table.mount_of(Path::new(path));
        assert_eq!(mount("/home/a"), Path::new("/"));
        assert_eq!(mount("/mnt/my disk/a"), Path::new("/mnt/my disk"));
        assert_eq!(mount("/mnt/my disks"), Path::new("/mnt"));
        assert_eq!(Table::parse("").mount_of(Path::new("/a")), Path::new("/"));
    }

    #[test]
    fn what_hangs_holds_nobody_else_up_and_is_named() {
        let threads = Threads::new();
        let disks = Disks::new(&threads);
        let (release, held) = bounded::<()>(0);
        let path = Path::new("/");
        let waits = held.clone();
        let error = disks.within(path, move || waits.recv().is_ok()).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert_eq!(disks.within(path, || 5).unwrap(), 5);
        let (late, undone) = bounded(1);
        let waits = held.clone();
        let undo = move |number| late.send(number).unwrap();
        let take = move || (waits.recv().is_ok(), 7).1;
        assert!(disks.within_or(path, take, undo).is_err());
        drop(release);
        assert_eq!(undone.recv_timeout(Duration::from_secs(30)), Ok(7), "done too late");
        disks.close();
        assert!(threads.join(Duration::from_secs(30)).is_empty());
    }
}
