//! Tells whether anything but the download has changed its `.part`.
//!
//! **Invariant:** a change by another process counts as seen once: either the file's length or
//! times differ from those after our own last change, or the system reports that another process
//! has closed the file after writing.
//!
//! The times alone are not enough. Kernels before Linux 6.13 change them every few milliseconds at
//! most, and a change between our look at the file and the end of our own write is hidden. On
//! network file systems the times may change by themselves when the server has written the data: a
//! changed time means that the pieces are to be read again, and no more.
//!
//! Our own changes come from the download's thread, one after the other. Blocks only for a look at
//! the file's times.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use parking_lot::Mutex;

use crate::types::PartStamp;

/// Notices changes by other processes.
pub(super) struct Watch {
    state: Mutex<State>,
    reports: Option<reports::Reports>,
}

#[derive(Default)]
struct State {
    /// How the file looked after our own last change.
    last: Option<Look>,
    /// A change of our own is under way.
    is_changing: bool,
    /// Another process has changed the file.
    is_touched: bool,
    /// The system has reported that another process wrote to the file.
    is_written: bool,
}

/// What a write changes: length, time of the last write, time of the last change of status.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    len: u64,
    times: [i64; 4],
    /// The later of the two times, for the journal.
    changed_ns: i64,
}

impl Watch {
    pub(super) fn new(file: &File) -> Self {
        let state = State { last: look_at(file), ..State::default() };
        Self { state: Mutex::new(state), reports: reports::Reports::of(file) }
    }

    /// Carries out a change of our own.
    pub(super) fn change<T>(&self, file: &File, change: impl FnOnce() -> T) -> T {
        let before = look_at(file);
        {
            let mut state = self.state.lock();
            state.compare(before);
            state.is_changing = true;
        }
        let changed = change();
        let after = look_at(file);
        let mut state = self.state.lock();
        (state.last, state.is_changing) = (after, false);
        changed
    }

    /// Tells whether another process has changed the file since [`Watch::accept`].
    pub(super) fn is_touched(&self, file: &File) -> bool {
        let now = look_at(file);
        self.take_reports();
        let mut state = self.state.lock();
        state.compare(now);
        state.is_touched
    }

    /// Tells whether the system has reported since [`Watch::accept`] that another process wrote to
    /// the file. Unlike a changed time, that is certain.
    pub(super) fn is_written(&self) -> bool {
        self.take_reports();
        self.state.lock().is_written
    }

    /// Takes the file as it is now for unchanged: its pieces are about to be read again.
    pub(super) fn accept(&self, file: &File) {
        self.take_reports();
        let now = look_at(file);
        let mut state = self.state.lock();
        (state.last, state.is_touched, state.is_written) = (now, false, false);
    }

    /// Returns when we last changed the file; `None` if another process may have changed it since,
    /// or the file system does not say. It is final only if no change is under way.
    pub(super) fn stamp(&self, is_final: bool) -> Option<PartStamp> {
        let state = self.state.lock();
        let Look { changed_ns, .. } = state.last.filter(|_| !state.is_touched)?;
        Some(PartStamp { changed_ns, is_final: is_final && !state.is_changing })
    }

    fn take_reports(&self) {
        if self.reports.as_ref().is_some_and(reports::Reports::take) {
            let mut state = self.state.lock();
            (state.is_touched, state.is_written) = (true, true);
        }
    }
}

impl State {
    fn compare(&mut self, now: Option<Look>) {
        let differs = |last| now.is_some_and(|now| now != last);
        if !self.is_changing && self.last.is_some_and(differs) {
            (self.is_touched, self.last) = (true, now);
        }
    }
}

/// `None` if the file system does not say.
fn look_at(file: &File) -> Option<Look> {
    let facts = file.metadata().ok()?;
    let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()];
    Some(Look { len: facts.len(), times, changed_ns: PartStamp::changed_ns(&facts) })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod reports {
    //! The system's reports of writers that closed a file (inotify).

    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::fs::inotify;

    /// Bytes of reports read at a time; their content is not looked at.
    const REPORTS_LEN: usize = 4096;

    pub(super) struct Reports(OwnedFd);

    impl Reports {
        /// `None` if the system gives no more of them: the times have to do.
        pub(super) fn of(file: &File) -> Option<Self> {
            use inotify::{CreateFlags, WatchFlags};
            let reports = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            // The file that is open, whatever has its name now.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            inotify::add_watch(&reports, path, WatchFlags::CLOSE_WRITE).ok()?;
            Some(Self(reports))
        }

        /// Takes the reports that have come; false if none has.
        pub(super) fn take(&self) -> bool {
            let (mut has_some, mut bytes) = (false, [0; REPORTS_LEN]);
            while rustix::io::read(&self.0, &mut bytes).is_ok_and(|len| len > 0) {
                has_some = true;
            }
            has_some
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod reports {
    //! Systems without reports of writers.

    use std::fs::File;

    pub(super) struct Reports;

    impl Reports {
        pub(super) fn of(_file: &File) -> Option<Self> {
            None
        }

        pub(super) fn take(&self) -> bool {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn changes_of_others_are_seen_and_our_own_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        let ours = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let watch = Watch::new(&ours);
        for at in 0..100 {
            watch.change(&ours, || ours.write_all_at(b"abc", at * 3).unwrap());
            std::fs::read(&path).unwrap();
            assert!(!watch.is_touched(&ours), "our own write, or a reader, was taken for a change");
        }
        let mut theirs = File::options().write(true).open(&path).unwrap();
        for round in 0..100 {
            // At once after our own write, and hidden by the next one.
            watch.change(&ours, || ours.write_all_at(b"abc", 0).unwrap());
            theirs.write_all(b"x").unwrap();
            if round % 2 == 0 {
                drop(theirs);
                theirs = File::options().write(true).open(&path).unwrap();
                watch.change(&ours, || ours.write_all_at(b"abc", 0).unwrap());
                #[cfg(any(target_os = "linux", target_os = "android"))]
                assert!(watch.is_written(), "round {round}");
            } else {
                theirs.set_len(300).unwrap();
            }
            assert!(watch.is_touched(&ours), "round {round}");
            watch.accept(&ours);
            assert!(!watch.is_touched(&ours) && !watch.is_written(), "round {round}");
        }
    }

    #[test]
    fn a_write_inside_of_ours_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        let ours = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let watch = Watch::new(&ours);
        watch.change(&ours, || std::fs::write(&path, "theirs").unwrap());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert!(watch.is_touched(&ours) && watch.is_written());
    }
}
