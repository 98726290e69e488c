//! Meets devices at relays that ask for this one, and relays for others if the user is willing.
//!
//! **Invariant:** this device relays while its user is logged in, for those whom a tracker of the
//! network has introduced: members of a group of the user's. One pair lasts no longer than a ticket
//! does; then a tracker has to introduce its ends again.
//!
//! The thread "relays" waits for what trackers say.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, select, tick};
use log::debug;

use super::Runtime;
use crate::client::trackers::RelayNews;
use crate::net::Stop;
use crate::relay::{Relay, RelayBounds};
use crate::types::limits::TICKET_LIFETIME;
use crate::types::{Rate, RelayMeeting};

/// Pairs that a member relays for at a time.
const PAIRS_MAX: usize = 32;
/// How often it is looked whether the user is logged in still.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Starts the relay of a willing member.
///
/// # Errors
/// The system's: the port is in use.
pub(crate) fn start(address: SocketAddr, rate: Option<Rate>) -> io::Result<Relay> {
    let bounds = RelayBounds {
        sessions: PAIRS_MAX,
        sessions_per_user: PAIRS_MAX / 2,
        rate,
        user_rate: None,
        user_day: None,
        pair_time: TICKET_LIFETIME,
        ..RelayBounds::default()
    };
    Relay::start(address, bounds)
}

/// Acts on what trackers say until the client stops.
pub(super) fn run(runtime: &Runtime, stop: &Stop) {
    let (news, looks) = (runtime.trackers.relay_news(), tick(LOOK_EVERY));
    loop {
        let next = select! {
            recv(news) -> news => news.map_err(|_| RecvTimeoutError::Disconnected),
            recv(looks) -> _ => Err(RecvTimeoutError::Timeout),
            recv(stop.channel()) -> _ => Err(RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(RelayNews::AskedFor(place)) => {
                if let Some(engine) = runtime.engine() {
                    engine.accept_relayed(place);
                }
            }
            Ok(RelayNews::RelayFor(meeting)) => relay_for(runtime, meeting),
            Err(RecvTimeoutError::Timeout) => end_without_user(runtime),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn relay_for(runtime: &Runtime, meeting: RelayMeeting) {
    let Some(relay) = &runtime.relay else { return };
    if runtime.view().library.user().is_none() {
        return debug!("not relayed: no user is logged in");
    }
    if let Err(why) = relay.introduce(meeting) {
        debug!("not relayed: {why}");
    }
}

/// Ends what is relayed once the user has logged out.
fn end_without_user(runtime: &Runtime) {
    if let Some(relay) = &runtime.relay
        && runtime.view().library.user().is_none()
    {
        relay.end_if(|_| true);
    }
}
