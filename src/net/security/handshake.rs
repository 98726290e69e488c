//! Handshakes, and the introduction that takes their place on the plain transport.
//!
//! **Invariant:** a connection is made only after its handshake is over and the application
//! protocol agreed. A handshake that fails closes the socket.
//!
//! Blocks on the caller's thread until the deadline.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use crate::net::socket::is_timeout;
use crate::net::stream::{Endpoint, Progress, ReceiveBuffer, SendBuffer, TlsStream, invalid};
use crate::net::{Connection, Incoming};
use crate::trust::{Chain, TRACKER_NAME, chain_of};
use crate::types::DeviceId;

/// The plain transport's introduction: each end says its id.
pub(super) fn introduce(
    incoming: Incoming,
    own: DeviceId,
    timeout: Duration,
) -> io::Result<(Connection, DeviceId)> {
    let connection = incoming.into_connection(None);
    connection.writer().write_all(own.as_bytes())?;
    let (mut reader, mut id) = (connection.reader(), [0; DeviceId::LEN]);
    reader.set_deadline(Some(Instant::now() + timeout));
    reader.read_exact(&mut id)?;
    Ok((connection, DeviceId::from_bytes(id)))
}

/// The endpoint of a connection that was dialled.
pub(super) fn client(config: &Arc<ClientConfig>) -> io::Result<Endpoint> {
    let name = ServerName::try_from(TRACKER_NAME)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let tls = UnbufferedClientConnection::new(config.clone(), name).map_err(invalid)?;
    Ok(Endpoint::Client(Box::new(tls)))
}

/// The endpoint of a connection that was accepted.
pub(super) fn server(config: &Arc<ServerConfig>) -> io::Result<Endpoint> {
    let tls = UnbufferedServerConnection::new(config.clone()).map_err(invalid)?;
    Ok(Endpoint::Server(Box::new(tls)))
}

/// Makes the handshake, and returns the chain of certificates that the other end has shown.
///
/// # Errors
/// The system's; `TimedOut`; `InvalidData` for what rustls or a verifier refuses.
pub(super) fn shake_hands(
    incoming: Incoming,
    mut tls: Endpoint,
    alpn: &[u8],
    timeout: Duration,
) -> io::Result<(Connection, Chain)> {
    let (deadline, mut input) = (Instant::now() + timeout, ReceiveBuffer::default());
    exchange(&incoming, &mut tls, &mut input, deadline).inspect_err(|_| incoming.close())?;
    let chain = tls
        .peer_certificates()
        .and_then(|certificates| chain_of(certificates.first()?, &certificates[1..]));
    match chain {
        Some(chain) if tls.alpn_protocol() == Some(alpn) => {
            Ok((incoming.into_connection(Some(TlsStream::new(tls, input))), chain))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another protocol")),
    }
}

/// Sends and receives until the handshake is over. Records behind it are left in `input`.
fn exchange(
    incoming: &Incoming,
    tls: &mut Endpoint,
    input: &mut ReceiveBuffer,
    deadline: Instant,
) -> io::Result<()> {
    let (socket, mut output) = (incoming.socket(), SendBuffer::default());
    loop {
        match tls.advance(input, &mut output) {
            Ok(progress) => {
                socket.send_all(&mut output, deadline)?;
                match progress {
                    Progress::Done => return socket.stream.set_read_timeout(None),
                    Progress::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Progress::Receive => {}
                }
            }
            Err(e) => {
                // An alert tells the other end.
                let _ = socket.send_all(&mut output, deadline);
                return Err(invalid(e));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.stream.set_read_timeout(Some(left))?;
        match (&socket.stream).read(input.room()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => input.received(len),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(timed_out(e)),
        }
    }
}

fn timed_out(error: io::Error) -> io::Error {
    if is_timeout(&error) { io::ErrorKind::TimedOut.into() } else { error }
}
