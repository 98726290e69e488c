//! Gives a complete file its final name, on any file system.
//!
//! **Invariant:** a file that has the name already is not replaced. Where the file system has no
//! call for exactly that, the name is given in the next best way that it has.
//!
//! Blocks on the disk.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// The calls that give a name; a trait so that tests can make file systems lack them. `at` is the
/// directory of the names.
pub(crate) trait Naming {
    /// Makes a file under a name, with the rights that the user's umask leaves.
    fn create(&self, at: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(at, name, flags, Mode::from(0o666))
    }

    /// Renames a file, and fails if the new name is taken.
    fn rename_new(&self, at: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat_with(at, from, at, to, RenameFlags::NOREPLACE)
    }

    /// Gives a file a second name, which must be free.
    fn link(&self, at: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        rustix::fs::linkat(at, from, at, to, AtFlags::empty())
    }
}

/// The system's calls.
pub(crate) struct SystemNaming;

impl Naming for SystemNaming {}

/// How a file got its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// By a rename that replaces nothing.
    Renamed,
    /// By a second name, and the removal of the first.
    Linked,
    /// By a rename over an empty file that was made for that purpose.
    Replaced,
}

impl Named {
    /// What the file system cannot do.
    pub(crate) fn lacking(self) -> Option<&'static str> {
        match self {
            Self::Renamed => None,
            Self::Linked => Some("cannot rename without replacing"),
            Self::Replaced => Some("can neither rename without replacing nor link"),
        }
    }
}

/// Renames `from` to `to`, both in `at`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the name is taken, and the system's.
pub(crate) fn rename(
    calls: &dyn Naming,
    at: &OwnedFd,
    from: &OsStr,
    to: &OsStr,
) -> io::Result<Named> {
    match calls.rename_new(at, from, to) {
        Ok(()) => return Ok(Named::Renamed),
        Err(errno) if is_lacking(errno) => {}
        Err(errno) => return Err(errno.into()),
    }
    match calls.link(at, from, to) {
        Ok(()) => {
            // The file has its name, whether or not it keeps the other one, too.
            if let Err(error) = rustix::fs::unlinkat(at, from, AtFlags::empty()) {
                log::warn!("{} stays as a second name: {error}", from.display());
            }
            Ok(Named::Linked)
        }
        Err(errno) if is_lacking(errno) => rename_over_own(at, from, to).map(|()| Named::Replaced),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells whether an error says that there is no such call. A file system that has no links answers
/// `EPERM`, and some of those in user space `EIO` or `EACCES`.
fn is_lacking(errno: Errno) -> bool {
    let lacking = [
        Errno::INVAL,
        Errno::NOSYS,
        Errno::NOTSUP,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::IO,
        Errno::MLINK,
    ];
    lacking.contains(&errno)
}

/// Takes the name with an empty file, and renames over that. Another process could replace the
/// empty file between the look at it and the rename; without a call of the file system nothing
/// shuts that out.
fn rename_over_own(at: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, to, flags, Mode::from(0o600))?;
    let is_empty = || {
        let named = rustix::fs::statat(at, to, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_plain = rustix::fs::FileType::from_raw_mode(named.st_mode).is_file();
        Ok::<bool, Errno>(is_plain && named.st_size == 0)
    };
    if !is_empty()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    rustix::fs::renameat(at, from, at, to).map_err(|errno| {
        if is_empty().unwrap_or(false) {
            let _ = rustix::fs::unlinkat(at, to, AtFlags::empty());
        }
        errno.into()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A file system that lacks calls.
    struct Lacking(Option<Errno>, Option<Errno>);

    impl Naming for Lacking {
        fn rename_new(&self, at: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
            self.0.map_or_else(|| SystemNaming.rename_new(at, from, to), Err)
        }

        fn link(&self, at: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
            self.1.map_or_else(|| SystemNaming.link(at, from, to), Err)
        }
    }

    fn name(calls: &Lacking, dir: &Path) -> io::Result<Named> {
        let at = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rename(calls, &at, OsStr::new("a.part"), OsStr::new("a"))
    }

    #[test]
    fn a_file_gets_its_name_whatever_calls_are_lacking_and_replaces_nothing() {
        let cases = [
            (Lacking(None, None), Named::Renamed),
            (Lacking(Some(Errno::INVAL), None), Named::Linked),
            (Lacking(Some(Errno::NOSYS), Some(Errno::PERM)), Named::Replaced),
            (Lacking(Some(Errno::NOTSUP), Some(Errno::NOSYS)), Named::Replaced),
        ];
        for (calls, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            let [part, target] = ["a.part", "a"].map(|name| dir.path().join(name));
            fs::write(&part, "whole").unwrap();
            for taken in ["mine", ""] {
                fs::write(&target, taken).unwrap();
                let kind = name(&calls, dir.path()).map_err(|error| error.kind());
                assert_eq!(kind, Err(io::ErrorKind::AlreadyExists), "{want:?}");
                assert_eq!(fs::read_to_string(&target).unwrap(), taken, "{want:?}");
                fs::remove_file(&target).unwrap();
            }
            assert_eq!(name(&calls, dir.path()).unwrap(), want);
            assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
            assert!(!part.exists(), "{want:?}");
            // Nothing is left where there is nothing to rename.
            fs::remove_file(&target).unwrap();
            assert!(name(&calls, dir.path()).is_err() && !target.exists(), "{want:?}");
        }
    }
}
