//! The file systems in use, and which of them do not answer.
//!
//! **Invariant:** a read or write is registered from before its system calls until after them. A
//! file system hangs while one of them has taken longer than [`HANGS_AFTER`].
//!
//! Threads that read and write belong to one download or one link, so one that hangs holds up
//! nothing else; here the others learn of it. Called on these threads and the timer's; never
//! blocks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A disk that is busy answers sooner; one that is asleep needs some seconds to start.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Tells whether the file system of the path gives files other numbers each time it is mounted.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn numbers_anew(path: &Path) -> bool {
    // statfs(2): in user space, FAT, exFAT, SMB (both), 9P.
    const TYPES: [u64; 6] =
        [0x6573_5546, 0x4d44, 0x2011_bab0, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
    rustix::fs::statfs(path).is_ok_and(|facts| TYPES.contains(&(facts.f_type as u64 & 0xffff_ffff)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn numbers_anew(_path: &Path) -> bool {
    false
}

/// The reads and writes under way.
#[derive(Default)]
pub(crate) struct FileSystems {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By `st_dev`: serial numbers, which grow with the time of the start.
    running: HashMap<u64, BTreeMap<u64, Instant>>,
}

/// A read or write under way; ends when dropped.
pub(crate) struct Operation<'a> {
    file_systems: &'a FileSystems,
    device: u64,
    serial: u64,
}

impl FileSystems {
    /// Registers a read or write on the file system with that `st_dev`.
    pub(crate) fn begin(&self, device: u64) -> Operation<'_> {
        let mut state = self.state.lock();
        let serial = state.next;
        state.next += 1;
        state.running.entry(device).or_default().insert(serial, Instant::now());
        Operation { file_systems: self, device, serial }
    }

    /// Tells whether the file system hangs.
    pub(crate) fn hangs(&self, device: u64) -> bool {
        let state = self.state.lock();
        let oldest = state.running.get(&device).and_then(|running| running.first_key_value());
        oldest.is_some_and(|(_, started)| started.elapsed() > HANGS_AFTER)
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        let mut state = self.file_systems.state.lock();
        if let Some(running) = state.running.get_mut(&self.device) {
            running.remove(&self.serial);
            if running.is_empty() {
                state.running.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_operation_tells_whether_a_file_system_hangs() {
        let systems = FileSystems::default();
        let (slow, fast) = (systems.begin(1), systems.begin(2));
        let _later = systems.begin(1);
        assert!(!systems.hangs(1));
        let long_ago = Instant::now().checked_sub(HANGS_AFTER * 2).unwrap();
        systems.state.lock().running.get_mut(&1).unwrap().insert(slow.serial, long_ago);
        assert!(systems.hangs(1) && !systems.hangs(2) && !systems.hangs(3));
        drop(slow);
        assert!(!systems.hangs(1), "the later one has just begun");
        drop(fast);
        assert_eq!(systems.state.lock().running.len(), 1);
    }
}
