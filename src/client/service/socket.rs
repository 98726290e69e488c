//! The socket in the data directory: making it, and finding the one of a running client.
//!
//! **Invariant:** the file has mode 0600 from its first moment. Nothing but a socket is ever
//! removed, and that by the holder of the directory's lock alone. Nobody speaks to a socket that
//! another user made: passwords are told to it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::debug;
use rustix::fs::{Mode, fchmod};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, SockRef, Socket as System, Type};

use crate::http::{Acceptor, CONNECTIONS_MAX, Socket};

/// Name of the socket in the data directory.
pub(super) const NAME: &str = "control.sock";
/// Bytes of a socket's path.
const PATH_LEN_MAX: usize = 100;

/// A client's end of the control socket.
pub(super) struct ControlSocket(UnixListener);

/// The address of the socket in a directory. A long path is gone round by the directory's
/// descriptor, which has to stay open meanwhile.
fn address(data_dir: &Path) -> io::Result<(SockAddr, Option<File>)> {
    let path = data_dir.join(NAME);
    if path.as_os_str().len() <= PATH_LEN_MAX {
        return Ok((SockAddr::unix(path)?, None));
    }
    let directory = File::open(data_dir)?;
    let path: PathBuf = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()).into();
    Ok((SockAddr::unix(path)?, Some(directory)))
}

/// Takes away a socket that is there.
pub(super) fn remove(data_dir: &Path) {
    let path = data_dir.join(NAME);
    if path.symlink_metadata().is_ok_and(|facts| facts.file_type().is_socket()) {
        // One that stays is replaced at the next start.
        let _ = std::fs::remove_file(path);
    }
}

impl ControlSocket {
    /// Makes the socket, in the place of one that is left over.
    pub(super) fn bind(data_dir: &Path) -> io::Result<Self> {
        remove(data_dir);
        let (address, _directory) = address(data_dir)?;
        let socket = System::new(Domain::UNIX, Type::STREAM, None)?;
        // The file gets the mode that the socket has when it is bound.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&address)?;
        socket.listen(CONNECTIONS_MAX as i32)?;
        Ok(Self(socket.into()))
    }
}

impl Acceptor for ControlSocket {
    fn accept(&self) -> io::Result<Arc<dyn Socket>> {
        loop {
            let (stream, _) = self.0.accept()?;
            if is_ours(&stream) {
                return Ok(Arc::new(stream));
            }
            debug!("another user tried to use the control socket");
        }
    }

    fn wake(&self) {
        // It has ended if this fails.
        let _ = SockRef::from(&self.0).shutdown(std::net::Shutdown::Both);
    }
}

/// Tells whether the other end is the same user's, or the administrator's. The file's mode says the
/// same; where the system does not tell, it is all there is.
fn is_ours(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) {
        return peer.uid == geteuid() || peer.uid.is_root();
    }
    let _ = stream;
    true
}

/// What there is in a data directory.
#[derive(Debug)]
pub(super) enum Found {
    /// No client that could be reached.
    Nobody,
    /// Somebody listens.
    Somebody(UnixStream),
    /// It is not for us.
    AnotherUser,
}

/// Looks for a running client.
///
/// # Errors
/// The system's.
pub(super) fn look(data_dir: &Path) -> io::Result<Found> {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound, PermissionDenied};
    match data_dir.join(NAME).symlink_metadata() {
        Ok(facts) if !facts.file_type().is_socket() => return Ok(Found::Nobody),
        Ok(facts) if facts.uid() != geteuid().as_raw() => return Ok(Found::AnotherUser),
        Ok(_) => {}
        Err(error) => {
            return match error.kind() {
                NotFound | NotADirectory => Ok(Found::Nobody),
                PermissionDenied => Ok(Found::AnotherUser),
                _ => Err(error),
            };
        }
    }
    let (address, _directory) = address(data_dir)?;
    let socket = System::new(Domain::UNIX, Type::STREAM, None)?;
    // A process that is stopped takes no connection, and would be waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Ok(()) => {}
        Err(error) => {
            return match error.kind() {
                NotFound | ConnectionRefused => Ok(Found::Nobody),
                PermissionDenied => Ok(Found::AnotherUser),
                _ => Err(error),
            };
        }
    }
    socket.set_nonblocking(false)?;
    Ok(Found::Somebody(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_and_one_that_is_left_over_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::Nobody));
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let facts = dir.path().join(NAME).metadata().unwrap();
        assert_eq!(facts.mode() & 0o777, 0o600);
        assert!(matches!(look(dir.path()).unwrap(), Found::Somebody(_)));
        // As after `kill -9`: the file stays.
        drop(socket);
        assert!(matches!(look(dir.path()).unwrap(), Found::Nobody));
        let _socket = ControlSocket::bind(dir.path()).unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::Somebody(_)));
        remove(dir.path());
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::Nobody));
        assert!(ControlSocket::bind(dir.path()).is_err());
        remove(dir.path());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_long_path_is_gone_round() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let _socket = ControlSocket::bind(&deep).unwrap();
        assert!(matches!(look(&deep).unwrap(), Found::Somebody(_)));
    }
}
