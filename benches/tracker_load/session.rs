//! A client's session with one tracker, with nothing behind it: one encrypted connection, one
//! request at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posse::net::{Connection, DeviceSecurity, Reader};
use posse::trust::KeyPair;
use posse::types::{Password, Refusal, RequestId, RequestStamp, Stamp};
use posse::wire::frame::{read_message, write_message};
use posse::wire::tracker::{ClientHello, FromClient, FromTracker, Hello, Opening, Reply, Request};
use rand::Rng;

use crate::support::Result;

/// Longest frame taken from the tracker.
const FRAME_LEN_MAX: usize = 4 << 20;
/// Every account's password.
const PASSWORD: &str = "correct horse";
/// Time after which a tracker that does not answer fails the measurement.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An open session.
pub(crate) struct Session {
    connection: Connection,
    reader: Reader,
    number: u32,
}

/// A device that nobody has seen before.
pub(crate) fn new_device() -> Result<DeviceSecurity> {
    Ok(DeviceSecurity::new(&KeyPair::generate()?)?)
}

impl Session {
    /// Connects as a device of its own.
    pub(crate) fn open(port: u16) -> Result<Self> {
        Self::open_as(port, &new_device()?)
    }

    /// Connects as that device, by a full handshake.
    pub(crate) fn open_as(port: u16, device: &DeviceSecurity) -> Result<Self> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let connection = device.dial_tracker(address, None, TIMEOUT, &[])?.0;
        write_message(
            &mut connection.writer(),
            &Opening::new(Hello::Client(ClientHello { port: 9 })),
        )?;
        let mut reader = connection.reader();
        reader.set_deadline(Some(Instant::now() + TIMEOUT));
        match read_message(&mut reader, FRAME_LEN_MAX)? {
            FromTracker::Welcome(_) => Ok(Self { connection, reader, number: 0 }),
            other => Err(format!("instead of a welcome the tracker sent {other:?}").into()),
        }
    }

    /// Sends a request and waits for its reply. As a client does, asks again with a later time
    /// where the tracker wants one.
    pub(crate) fn ask(&mut self, mut request: Request) -> Result<Reply> {
        loop {
            let reply = self.ask_once(request.clone())?;
            let (Reply::Refused(Refusal::Overtaken { above }), Some(stamp)) =
                (&reply, request.stamp_mut())
            else {
                return Ok(reply);
            };
            stamp.at = above.next().ok_or("a stamp at the end of time")?;
        }
    }

    fn ask_once(&mut self, request: Request) -> Result<Reply> {
        self.number += 1;
        write_message(&mut self.connection.writer(), &FromClient { number: self.number, request })?;
        self.reader.set_deadline(Some(Instant::now() + TIMEOUT));
        loop {
            match read_message(&mut self.reader, FRAME_LEN_MAX)? {
                FromTracker::Reply { number, reply, .. } if number == self.number => {
                    return Ok(reply);
                }
                FromTracker::Event(_) => {}
                other => {
                    return Err(format!("instead of a reply the tracker sent {other:?}").into());
                }
            }
        }
    }

    /// Makes an account.
    pub(crate) fn create_user(&mut self, name: &str) -> Result<()> {
        let request = Request::CreateUser {
            request: request_id(),
            name: name.parse()?,
            password: password()?,
        };
        match self.ask(request)? {
            Reply::Done(_) => Ok(()),
            other => Err(format!("create_user {name}: {other:?}").into()),
        }
    }

    /// Logs in.
    pub(crate) fn login(&mut self, name: &str) -> Result<()> {
        match self.ask(Request::Login { name: name.parse()?, password: password()? })? {
            Reply::LoggedIn { .. } => Ok(()),
            other => Err(format!("login {name}: {other:?}").into()),
        }
    }

    /// Ends the connection.
    pub(crate) fn close(self) {
        self.connection.close();
    }

    /// Keeps the session alive.
    pub(crate) fn ping(&mut self) -> Result<()> {
        self.ask(Request::Ping).map(drop)
    }
}

fn password() -> Result<Password> {
    Ok(Password::new(PASSWORD.to_owned())?)
}

/// Returns a request that was not asked before, asked now and after those before.
pub(crate) fn request_id() -> RequestStamp {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    LAST.fetch_max(Stamp::new(now.as_millis() as u64, 0).as_u64(), Ordering::Relaxed);
    let at = Stamp::from_u64(LAST.fetch_add(1, Ordering::Relaxed));
    RequestStamp { id: RequestId::from_bytes(random()), at }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
