//! Accepts connections at a TCP address.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use socket2::SockRef;

use super::{Acceptor, Socket};

/// A listening TCP socket.
#[derive(Debug)]
pub struct Tcp(TcpListener);

impl Tcp {
    /// Binds an address; port 0 takes any free port.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(address)?))
    }

    /// The address, with the actual port.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) fn accept_stream(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.0.accept()?;
        // Small parts of a stream of events are not to wait for each other.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Acceptor for Tcp {
    fn accept(&self) -> io::Result<Arc<dyn Socket>> {
        Ok(Arc::new(self.accept_stream()?))
    }

    fn wake(&self) {
        // An error means that it is shut down already.
        let _ = SockRef::from(&self.0).shutdown(std::net::Shutdown::Both);
    }
}
