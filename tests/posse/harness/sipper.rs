//! A device of the test's own that fetches a file in small sips, over and over, for as long as it
//! is served: whoever stops serving it is seen to, and when. It ends no link by itself and heeds no
//! word of a tracker, as a hostile member would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use posse::types::{DeviceId, InfoHash, Ticket};
use posse::wire::peer::PeerMessage;

use super::{Device, PATIENCE, RawLink};

/// Time between two sips.
const PACE: Duration = Duration::from_millis(5);
/// How long the end of a link is waited for: longer than any test allows.
pub(crate) const END: Duration = Duration::from_secs(20);
/// Bytes in a sip.
const SIP: u32 = 16 << 10;

/// What it was given so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sipped {
    pub(crate) bytes: u64,
    /// When the last byte came.
    pub(crate) last: Option<Instant>,
    /// When the link ended.
    pub(crate) ended: Option<Instant>,
}

/// One link that is sipped from, until its other end ends it.
#[derive(Debug, Clone)]
pub(crate) struct Sipper {
    pub(crate) name: String,
    state: Arc<(Mutex<Sipped>, Condvar)>,
}

impl Sipper {
    /// Opens a link for a file and sips until the end; returns once the first sip was served.
    #[track_caller]
    pub(crate) fn start(
        name: &str,
        device: &Device,
        ticket: &Ticket,
        peer: (SocketAddr, DeviceId),
        info_hash: InfoHash,
    ) -> Self {
        let link = RawLink::open(device, ticket, peer, info_hash)
            .unwrap_or_else(|e| panic!("{name}: no link: {e}"));
        let sipper = Self { name: name.to_owned(), state: Arc::default() };
        std::thread::spawn({
            let sipper = sipper.clone();
            move || sipper.run(link)
        });
        sipper.wait("is served", |sipped| sipped.bytes > 0);
        sipper
    }

    /// What it was given so far.
    pub(crate) fn sipped(&self) -> Sipped {
        *self.state.0.lock()
    }

    /// Waits until its other end has ended the link.
    #[track_caller]
    pub(crate) fn wait_ended(&self) -> Sipped {
        self.wait_for(END, "is ended", |sipped| sipped.ended.is_some())
    }

    /// Waits until it was given something more.
    #[track_caller]
    pub(crate) fn wait_more(&self) {
        let before = self.sipped().bytes;
        self.wait("is served on", |sipped| sipped.bytes > before);
    }

    #[track_caller]
    fn wait(&self, what: &str, come: impl Fn(&Sipped) -> bool) -> Sipped {
        self.wait_for(PATIENCE, what, come)
    }

    #[track_caller]
    fn wait_for(&self, limit: Duration, what: &str, come: impl Fn(&Sipped) -> bool) -> Sipped {
        let mut sipped = self.state.0.lock();
        let late =
            self.state.1.wait_while_for(&mut sipped, |sipped| !come(sipped), limit).timed_out();
        assert!(!late, "{}: waited in vain until it {what}: {sipped:?}", self.name);
        *sipped
    }

    fn run(&self, mut link: RawLink) {
        // Every error is the end of the link, which is what is waited for.
        let _ = self.sip(&mut link);
        self.state.0.lock().ended = Some(Instant::now());
        self.state.1.notify_all();
    }

    fn sip(&self, link: &mut RawLink) -> std::io::Result<()> {
        let ask = PeerMessage::Request { piece: 0, begin: 0, len: SIP };
        link.send(&PeerMessage::HaveNone)?;
        link.send(&PeerMessage::Interested)?;
        while let Ok(message) = link.receive() {
            match message {
                PeerMessage::Unchoke => link.send(&ask)?,
                PeerMessage::Piece { data, .. } => {
                    {
                        let mut sipped = self.state.0.lock();
                        sipped.bytes += data.len() as u64;
                        sipped.last = Some(Instant::now());
                    }
                    self.state.1.notify_all();
                    std::thread::sleep(PACE);
                    link.send(&ask)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
