//! systemd's notify protocol (sd_notify(3)): one datagram to the socket that `NOTIFY_SOCKET` names.
//!
//! Written here because the crate `sd-notify` does not support abstract sockets.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use log::debug;

/// A message to the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The service has started.
    Ready,
    /// The service is stopping.
    Stopping,
    /// A status line for people.
    Status(String),
}

/// Sends messages to the service manager, if `NOTIFY_SOCKET` names one.
pub(crate) fn notify(states: &[State]) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&address, &to_text(states)) {
        debug!("the service manager cannot be told: {error}");
    }
}

fn to_text(states: &[State]) -> String {
    let line = |state: &State| match state {
        State::Ready => "READY=1\n".to_owned(),
        State::Stopping => "STOPPING=1\n".to_owned(),
        // A line end would begin another variable.
        State::Status(text) => format!("STATUS={}\n", text.replace(['\n', '\r'], " ")),
    };
    states.iter().map(line).collect()
}

fn send(address: &OsStr, text: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // Do not wait for a manager that does not read.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &to_address(address)?).map(drop)
}

/// A path, or `@` and the name of an abstract socket.
fn to_address(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_sockets_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("posse-test-{}-{:?}", std::process::id(), std::thread::current().id());
        let mut abstract_name = OsStr::new("@").to_owned();
        abstract_name.push(&name);
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name = UnixDatagram::bind_addr(&to_address(&abstract_name).unwrap()).unwrap();
        for (socket, address) in [(at_path, path.as_os_str()), (at_name, &abstract_name)] {
            let states = [State::Ready, State::Status("nik\nREADY=0".into())];
            send(address, &to_text(&states)).unwrap();
            let mut bytes = [0; 100];
            let len = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], b"READY=1\nSTATUS=nik READY=0\n");
        }
        assert!(send(OsStr::new("/nowhere/at/all"), "x").is_err());
    }
}
