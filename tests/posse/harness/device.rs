//! A device of the test's own: its key, and the connections it makes with trackers and other
//! devices.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posse::net::{Connection, DeviceSecurity, Incoming, Reader, Transport, Writer};
use posse::trust::KeyPair;
use posse::types::limits::HANDSHAKE_TIMEOUT;
use posse::types::{DeviceId, PunchSecret};
use posse::wire::frame::write_message;
use posse::wire::tracker::{Hello, Opening, ProbeHello};

use super::PATIENCE;

/// A device; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    security: DeviceSecurity,
    /// The address it dials from, if that matters.
    from: Option<IpAddr>,
}

/// A device that nobody else is: its key is new.
pub(crate) fn device() -> Device {
    Device::new(&KeyPair::generate().expect("the system gives random numbers"))
}

impl Device {
    /// The device with that key.
    pub(crate) fn new(key: &KeyPair) -> Self {
        let security = DeviceSecurity::new(key).expect("a key makes a certificate");
        Self { id: security.device(), security, from: None }
    }

    /// Dials from this address of the loopback network from now on, as another machine would.
    pub(crate) fn at(self, ip: [u8; 4]) -> Self {
        Self { from: Some(ip.into()), ..self }
    }

    /// Dials a tracker, of whichever network, and makes the handshake of TLS.
    pub(crate) fn dial_tracker(&self, tracker: SocketAddr) -> io::Result<Secured> {
        self.security
            .dial_tracker(tracker, self.from, HANDSHAKE_TIMEOUT, &[])
            .map(|(connection, _)| Secured::new(connection))
    }

    /// Dials another device and makes the handshake of TLS.
    pub(crate) fn dial(&self, address: SocketAddr, whose: DeviceId) -> io::Result<Secured> {
        self.transport().dial(address, self.from, HANDSHAKE_TIMEOUT, whose).map(Secured::new)
    }

    /// Shows a tracker where the port is seen that a listener shares, for a hole punch.
    pub(crate) fn probe(
        &self,
        tracker: SocketAddr,
        from: SocketAddr,
        secret: PunchSecret,
    ) -> io::Result<Secured> {
        let dialled = Incoming::dial_from_port(tracker, from, HANDSHAKE_TIMEOUT, &|| false)?;
        let (connection, _) = self.security.prove_tracker(dialled, HANDSHAKE_TIMEOUT, &[])?;
        let hello = Hello::Probe(ProbeHello { secret, rtt_ms: 0 });
        write_message(&mut connection.writer(), &Opening::new(hello))?;
        Ok(Secured::new(connection))
    }

    /// Makes the handshake of TLS with a device that has dialled, and tells which it is.
    pub(crate) fn accept(&self, stream: TcpStream) -> io::Result<(Secured, DeviceId)> {
        let (connection, whose) =
            self.transport().accept(Incoming::new(stream)?, HANDSHAKE_TIMEOUT)?;
        Ok((Secured::new(connection), whose))
    }

    fn transport(&self) -> Transport {
        Transport::Tls(self.security.clone())
    }
}

/// One end of an encrypted connection. A read waits for [`PATIENCE`], unless told otherwise.
#[derive(Debug)]
pub(crate) struct Secured {
    connection: Connection,
    reader: Reader,
    writer: Writer,
    patience: Duration,
}

impl Secured {
    fn new(connection: Connection) -> Self {
        let (reader, writer) = (connection.reader(), connection.writer());
        Self { connection, reader, writer, patience: PATIENCE }
    }

    /// A half that reads and waits until the connection ends, and one that writes.
    pub(crate) fn split(&self) -> (Reader, Writer) {
        (self.connection.reader(), self.connection.writer())
    }

    /// How long a read waits from now on.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Ends the connection in both directions.
    pub(crate) fn close(&self) {
        self.connection.close();
    }
}

impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.set_deadline(Some(Instant::now() + self.patience));
        self.reader.read(buffer)
    }
}

impl Write for Secured {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Secured {
    /// Otherwise a half that is still held elsewhere would keep the connection open.
    fn drop(&mut self) {
        self.close();
    }
}
