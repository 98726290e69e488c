//! Work on files, kept apart by the mount that it is on.
//!
//! **Invariant:** a mount that hangs holds up its own work alone. A path's mount is found in the
//! system's table, without a look at the path itself.
//!
//! A path may lead to another mount through a link, which the table does not tell. So a mount gets
//! another thread when work on it takes long, up to a bound.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use super::workers::Workers;
use crate::client::error::ClientError;
use crate::client::session::DISK_TIMEOUT;
use crate::net::Threads;

/// Threads for one mount.
const PER_MOUNT_MAX: usize = 8;
/// Mounts with threads of their own; beyond it all is forgotten, and begun anew.
const MOUNTS_MAX: usize = 256;

/// The workers of every mount that was used.
pub(crate) struct Disks {
    threads: Threads,
    mounts: Mutex<HashMap<PathBuf, Mount>>,
}

struct Mount {
    workers: Vec<(Workers, Arc<Mutex<Option<Instant>>>)>,
}

/// Time after which work counts as stuck, and the next is not queued behind it.
const STUCK_AFTER: Duration = Duration::from_millis(250);

impl Disks {
    pub(super) fn new(threads: &Threads) -> Self {
        Self { threads: threads.clone(), mounts: Mutex::default() }
    }

    /// Has something done that may wait for the mount of that path.
    pub(crate) fn run(&self, path: &Path, work: impl FnOnce() + Send + 'static) {
        let mut mounts = self.mounts.lock();
        if mounts.len() >= MOUNTS_MAX {
            mounts.clear();
        }
        let mount = mounts.entry(mount_of(path)).or_insert(Mount { workers: Vec::new() });
        let is_stuck = |busy: &Mutex<Option<Instant>>| {
            busy.lock().is_some_and(|since| since.elapsed() >= STUCK_AFTER)
        };
        let free = mount.workers.iter().find(|(_, busy)| !is_stuck(busy)).cloned();
        let (workers, busy) = match free {
            Some(free) => free,
            None if mount.workers.len() < PER_MOUNT_MAX => {
                mount.workers.push((Workers::new("disk", 1, &self.threads), Arc::default()));
                mount.workers[mount.workers.len() - 1].clone()
            }
            None => mount.workers[0].clone(),
        };
        drop(mounts);
        workers.run(move || {
            *busy.lock() = Some(Instant::now());
            work();
            *busy.lock() = None;
        });
    }

    /// Does something on the mount of that path, if that answers in time.
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
        let (sender, result) = bounded(1);
        self.run(path, move || drop(sender.send(work())));
        result.recv_timeout(DISK_TIMEOUT).map_err(|_| {
            let mount = mount_of(path);
            let why =
                format!("its disk does not answer; look at what is mounted at {}", mount.display());
            ClientError::path(path, why)
        })
    }

    /// Begins nothing any more; does not wait for a mount that hangs.
    pub(super) fn close(&self) {
        let mounts = std::mem::take(&mut *self.mounts.lock());
        for (workers, _) in mounts.into_values().flat_map(|mount| mount.workers) {
            workers.close(Duration::ZERO);
        }
    }
}

/// Where the file system of a path is mounted, as far as the system's table tells.
pub(super) fn mount_of(path: &Path) -> PathBuf {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_in(&table, path)
}

fn mount_in(table: &str, path: &Path) -> PathBuf {
    // proc(5): the fifth field is the mount point, with octal escapes.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let longest =
        points.filter(|point| path.starts_with(point)).max_by_key(|point| point.as_os_str().len());
    longest.unwrap_or_else(|| PathBuf::from("/"))
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
        let mount = |path: &str| mount_in(table, Path::new(path));
        assert_eq!(mount("/home/a"), Path::new("/"));
        assert_eq!(mount("/mnt/my disk/a"), Path::new("/mnt/my disk"));
        assert_eq!(mount("/mnt/my disks"), Path::new("/mnt"));
        assert_eq!(mount_in("", Path::new("/a")), Path::new("/"));
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
        drop(release);
        disks.close();
        assert!(threads.join(Duration::from_secs(30)).is_empty());
    }
}
