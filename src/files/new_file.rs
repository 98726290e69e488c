//! A file that gets its name once it is whole.
//!
//! **Invariant:** a file that is not published leaves nothing behind, and nothing is overwritten.
//! Where the file system has no files without a name, a client that is killed leaves a hidden one.
//!
//! Blocks on the disk.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::naming::{SystemNaming, rename};

/// A file that is being written; dropping it removes the file.
pub(crate) struct NewFile {
    pub(crate) file: File,
    directory: OwnedFd,
    /// Its name until it is published, where files need one.
    name: Option<OsString>,
}

impl NewFile {
    /// Makes a file of `len` bytes, if that is known, with the rights that the user's umask leaves.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no room for it, and the system's.
    pub(crate) fn create(directory: &Path, len: Option<u64>) -> io::Result<Self> {
        let room = rustix::fs::statvfs(directory)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        // A file system that reports no blocks does not know its free space.
        if len.is_some_and(|len| len > free) && room.f_blocks > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // O_PATH also opens a directory that may be written to but not read.
        #[cfg(target_os = "linux")]
        let how = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let how = OFlags::RDONLY;
        let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        match nameless(&directory) {
            Some(file) => Ok(Self { file, directory, name: None }),
            None => Self::named(directory),
        }
    }

    fn named(directory: OwnedFd) -> io::Result<Self> {
        let name = OsString::from(format!(".posse-drop-{:016x}", rand::random::<u64>()));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &name, flags, Mode::from(0o666))?;
        Ok(Self { file: file.into(), directory, name: Some(name) })
    }

    /// Gives it its name, which must be free. What is there then stays.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken, and the system's.
    pub(crate) fn publish(mut self, name: &OsStr) -> io::Result<()> {
        match self.name.take() {
            Some(from) => {
                if let Err(error) = rename(&SystemNaming, &self.directory, &from, name) {
                    self.name = Some(from);
                    return Err(error);
                }
            }
            None => link(&self.file, &self.directory, name)?,
        }
        // Best effort: without this a crash may lose the name.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let again = rustix::fs::openat(&self.directory, ".", flags, Mode::empty());
        let _ = again.and_then(rustix::fs::fsync);
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // A file that stays is hidden, and is not offered.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}

/// A file without a name; `None` where there is no such thing.
#[cfg(target_os = "linux")]
fn nameless(directory: &OwnedFd) -> Option<File> {
    // `link` gives the name through `/proc`.
    if !Path::new("/proc/self/fd").is_dir() {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, Mode::from(0o666)).ok().map(File::from)
}

#[cfg(target_os = "linux")]
fn link(file: &File, directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(rustix::fs::CWD, path, directory, name, follow)?)
}

#[cfg(not(target_os = "linux"))]
fn nameless(_: &OwnedFd) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &OwnedFd, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_there_whole_with_the_users_rights_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let usual = tempfile::tempdir().unwrap().path().join("usual");
        fs::create_dir_all(usual.parent().unwrap()).unwrap();
        fs::write(&usual, "").unwrap();
        let usual = fs::metadata(&usual).unwrap().permissions();
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            rustix::fs::open(dir, flags, Mode::empty()).unwrap()
        };
        let ways = || [NewFile::create(dir, Some(5)).unwrap(), NewFile::named(open()).unwrap()];
        for (at, new) in ways().into_iter().enumerate() {
            let name = OsString::from(format!("f{at}"));
            (&new.file).write_all(b"whole").unwrap();
            new.publish(&name).unwrap();
            assert_eq!(fs::read(dir.join(&name)).unwrap(), b"whole");
            assert_eq!(fs::metadata(dir.join(&name)).unwrap().permissions(), usual);
            assert_eq!(usual.mode() & 0o111, 0);
            for other in ways() {
                (&other.file).write_all(b"other").unwrap();
                let error = other.publish(&name).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            }
            assert_eq!(fs::read(dir.join(&name)).unwrap(), b"whole");
        }
        drop(ways());
        assert_eq!(names(dir).len(), 2, "{:?}", names(dir));
        let full = NewFile::create(dir, Some(1 << 62)).map(|_| ()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_client_that_is_killed_leaves_nothing_where_files_need_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let new = NewFile::create(dir.path(), None).unwrap();
        (&new.file).write_all(b"half").unwrap();
        assert_eq!(names(dir.path()).is_empty(), new.name.is_none());
    }
}
