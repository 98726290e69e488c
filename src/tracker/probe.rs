//! A connection from a client's port: it shows where that port is seen from outside, for hole
//! punches.
//!
//! **Invariant:** nothing is sent on it. It ends at the first secret that no punch has, or after
//! [`IDLE`] without one; until then it counts among the unproven connections of its address.
//!
//! Runs on the connection's own thread, which waits for the socket or the core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::net::Connection;
use crate::types::DeviceId;
use crate::types::limits::TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN;
use crate::wire::WireError;
use crate::wire::frame::{FrameError, read_message};
use crate::wire::tracker::ProbeHello;

/// How long it stays without a secret: longer than a punch takes. The client resets it when it has
/// no use for it.
const IDLE: Duration = Duration::from_secs(10);

/// Serves one to its end.
///
/// # Errors
/// Why the connection ended, unless in order.
///
/// # Blocking
/// Until the connection ends.
pub(super) fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    first: ProbeHello,
    device: DeviceId,
) -> Result<(), FrameError> {
    let (mut reader, peer) = (connection.reader(), connection.peer_addr());
    let address = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut next = first;
    loop {
        let ProbeHello { secret, rtt_ms } = next;
        let rtt = Duration::from_millis(rtt_ms.into());
        let taken =
            shared.core.ask(move |view| view.presence.probed((secret, device), address, rtt));
        match taken {
            None => return Ok(()),
            Some(Err(_)) => return Err(WireError::bad("probe", "no hole punch has it").into()),
            Some(Ok(())) => {}
        }
        if !reader.wait(IDLE)? {
            return Ok(());
        }
        reader.set_deadline(Some(Instant::now() + shared.limits.message));
        next = read_message(&mut reader, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN)?;
    }
}
