//! The peer protocol spoken by hand, from the dialling end: tickets, handshakes, and then whatever
//! a test wants.

use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use posse::net::{Reader, Writer};
use posse::types::{DeviceId, InfoHash, Ticket};
use posse::wire::frame::{read_message as read_frame, write_message};
use posse::wire::peer::{
    ExtendedHandshake, Handshake, PeerError, PeerId, PeerMessage, read_message,
};

use super::device::Secured;
use super::{Device, PATIENCE};

/// Bytes in the largest ticket that is waited for.
const TICKET_LEN_MAX: usize = 256;

/// One link; it ends with this value.
#[derive(Debug)]
pub(crate) struct RawLink {
    own: DeviceId,
    reader: BufReader<Reader>,
    writer: Writer,
    stream: Secured,
}

impl RawLink {
    /// Dials a device and makes the handshake of TLS: nothing has been said yet.
    pub(crate) fn dial(device: &Device, address: SocketAddr, whose: DeviceId) -> io::Result<Self> {
        let stream = device.dial(address, whose)?;
        let (reader, writer) = stream.split();
        Ok(Self { own: device.id, reader: BufReader::new(reader), writer, stream })
    }

    /// Dials a device, shows it a ticket and takes the one it shows, and shakes hands for a file.
    pub(crate) fn open(
        device: &Device,
        ticket: &Ticket,
        peer: (SocketAddr, DeviceId),
        info_hash: InfoHash,
    ) -> io::Result<Self> {
        let mut link = Self::dial(device, peer.0, peer.1)?;
        link.show(ticket)?;
        link.shake_hands(info_hash)?;
        Ok(link)
    }

    /// Shows a ticket, and returns the one that is shown back.
    pub(crate) fn show(&mut self, ticket: &Ticket) -> io::Result<Ticket> {
        write_message(&mut self.writer, ticket)?;
        self.patience(PATIENCE);
        read_frame(&mut self.reader, TICKET_LEN_MAX).map_err(io::Error::other)
    }

    /// Says which file, and waits for the same.
    pub(crate) fn shake_hands(&mut self, info_hash: InfoHash) -> io::Result<()> {
        let hello = PeerMessage::Extended { id: 0, payload: ExtendedHandshake::default().encode() };
        let mut opening = Handshake::new(info_hash, PeerId::of_device(self.own)).encode().to_vec();
        hello.encode(&mut opening);
        self.writer.write_all(&opening)?;
        self.patience(PATIENCE);
        Handshake::read(&mut self.reader).map_err(io::Error::other).map(|_| ())
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &PeerMessage) -> io::Result<()> {
        self.writer.write_all(&message.to_bytes())
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Waits for a message.
    pub(crate) fn receive(&mut self) -> Result<PeerMessage, PeerError> {
        self.patience(PATIENCE);
        read_message(&mut self.reader)
    }

    /// Everything below the tickets and handshakes: for those who want to read bytes.
    pub(crate) fn stream(&mut self) -> &mut Secured {
        &mut self.stream
    }

    fn patience(&mut self, patience: Duration) {
        self.reader.get_mut().set_deadline(Some(Instant::now() + patience));
    }
}
