//! Requests to a router over UDP, repeated until it answers.
//!
//! **Invariant:** the socket is connected to the router, so the system drops what others send; an
//! answer counts only if the caller takes it. A request ends within the times given.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::error::RouterError;
use crate::wire::port_mapping::{ANSWER_LEN_MAX, Answer, RouterRequest};

/// How long an answer is waited for, before the request is repeated: as in RFC 6886, but the
/// router of a home answers within milliseconds if it does at all.
pub(super) const PATIENCE: &[Duration] =
    &[Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
/// The same at the end of the client.
pub(super) const LAST_PATIENCE: &[Duration] =
    &[Duration::from_millis(150), Duration::from_millis(250)];
/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// A socket between an address of this machine and a router.
pub(super) struct RouterSocket {
    socket: UdpSocket,
}

impl RouterSocket {
    pub(super) fn open(own: IpAddr, router: SocketAddr) -> Result<Self, RouterError> {
        let socket = UdpSocket::bind((own, 0))?;
        socket.connect(router)?;
        Ok(Self { socket })
    }

    /// Sends a request and returns what `take` makes of the answer; answers for which it returns
    /// `None` are left aside.
    ///
    /// # Blocking
    /// For the sum of `patience`, or until `is_over`.
    pub(super) fn ask<T>(
        &self,
        request: RouterRequest,
        patience: &[Duration],
        is_over: &dyn Fn() -> bool,
        take: impl Fn(Answer) -> Option<Result<T, RouterError>>,
    ) -> Result<T, RouterError> {
        let request = request.to_bytes();
        // One more than the longest, to tell a longer one.
        let mut buffer = [0; ANSWER_LEN_MAX + 1];
        for pause in patience {
            self.socket.send(&request).map_err(of_io)?;
            let until = Instant::now() + *pause;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if is_over() {
                    return Err(RouterError::Over);
                }
                if left.is_zero() {
                    break;
                }
                self.socket.set_read_timeout(Some(left.min(LOOK)))?;
                let answer = match self.socket.recv(&mut buffer) {
                    Ok(len) => Answer::decode(&buffer[..len]).ok(),
                    Err(e) if is_timeout(&e) => None,
                    Err(e) => return Err(of_io(e)),
                };
                if let Some(result) = answer.and_then(&take) {
                    return result;
                }
            }
        }
        Err(RouterError::Silent)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The router's system says that nothing listens there.
fn of_io(error: io::Error) -> RouterError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => RouterError::Closed,
        _ => RouterError::System(error),
    }
}
