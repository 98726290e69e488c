//! Binds the control socket, and connects to that of a running client.
//!
//! **Invariant:** the file has mode 0600 from the start. Only the holder of the directory's lock
//! removes the file, and only if it is a socket. A program never connects to a socket of another
//! user, because it would send passwords to it.

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
/// Maximum length of a socket's path in bytes.
const PATH_LEN_MAX: usize = 100;

/// The bound control socket.
pub(super) struct ControlSocket(UnixListener);

/// The address of the socket in a directory. A path that is too long goes through the directory's
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

/// Removes the socket.
pub(super) fn remove(data_dir: &Path) {
    let path = data_dir.join(NAME);
    if path.symlink_metadata().is_ok_and(|facts| facts.file_type().is_socket()) {
        // The next start replaces a socket that stays.
        let _ = std::fs::remove_file(path);
    }
}

impl ControlSocket {
    /// Binds the socket and replaces a stale one.
    pub(super) fn bind(data_dir: &Path) -> io::Result<Self> {
        remove(data_dir);
        let (address, _directory) = address(data_dir)?;
        let socket = System::new(Domain::UNIX, Type::STREAM, None)?;
        // The file gets the mode of the socket at the time of `bind`.
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
        // An error means that it is shut down already.
        let _ = SockRef::from(&self.0).shutdown(std::net::Shutdown::Both);
    }
}

/// Tells whether the peer is the same user or the administrator. On other systems the file's mode
/// has to do.
fn is_ours(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) {
        return peer.uid == geteuid() || peer.uid.is_root();
    }
    let _ = stream;
    true
}

/// The result of a look for a running client.
#[derive(Debug)]
pub(super) enum Found {
    /// No client is running.
    NoClient,
    /// A connection to the listening process.
    Connected(UnixStream),
    /// The socket belongs to another user.
    AnotherUser,
}

/// Looks for a running client.
///
/// # Errors
/// The system's.
pub(super) fn look(data_dir: &Path) -> io::Result<Found> {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound, PermissionDenied};
    match data_dir.join(NAME).symlink_metadata() {
        Ok(facts) if !facts.file_type().is_socket() => return Ok(Found::NoClient),
        Ok(facts) if facts.uid() != geteuid().as_raw() => return Ok(Found::AnotherUser),
        Ok(_) => {}
        Err(error) => {
            return match error.kind() {
                NotFound | NotADirectory => Ok(Found::NoClient),
                PermissionDenied => Ok(Found::AnotherUser),
                _ => Err(error),
            };
        }
    }
    let (address, _directory) = address(data_dir)?;
    let socket = System::new(Domain::UNIX, Type::STREAM, None)?;
    // A stopped process with a full backlog would block `connect`.
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Ok(()) => {}
        Err(error) => {
            return match error.kind() {
                NotFound | ConnectionRefused => Ok(Found::NoClient),
                PermissionDenied => Ok(Found::AnotherUser),
                _ => Err(error),
            };
        }
    }
    socket.set_nonblocking(false)?;
    Ok(Found::Connected(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::NoClient));
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let facts = dir.path().join(NAME).metadata().unwrap();
        assert_eq!(facts.mode() & 0o777, 0o600);
        assert!(matches!(look(dir.path()).unwrap(), Found::Connected(_)));
        // The file stays, as after `kill -9`.
        drop(socket);
        assert!(matches!(look(dir.path()).unwrap(), Found::NoClient));
        let _socket = ControlSocket::bind(dir.path()).unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::Connected(_)));
        remove(dir.path());
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn a_file_that_is_not_a_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(look(dir.path()).unwrap(), Found::NoClient));
        assert!(ControlSocket::bind(dir.path()).is_err());
        remove(dir.path());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn the_path_may_be_longer_than_a_socket_address() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let _socket = ControlSocket::bind(&deep).unwrap();
        assert!(matches!(look(&deep).unwrap(), Found::Connected(_)));
    }
}
