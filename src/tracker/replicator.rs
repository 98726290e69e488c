//! The thread that keeps a link to one other tracker: dials it, sends it operations, and dials again when the link is lost.
//!
//! **Invariant:** one link at a time; the core hears of its beginning and its end, in this order, from this thread.
//!
//! While a link stands a second, small thread reads what the other end acknowledges. Silence for
//! [`TrackerLimits::link_silence`](super::config::TrackerLimits) ends the link; pings keep an idle one from being silent. That an
//! acknowledgement is late, the replica notices by itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};
use log::{debug, info, warn};
use rand::RngExt;

use super::clock::wall_ms;
use super::core::Input;
use super::link::{LinkSink, ORDERS_MAX, Order};
use super::shared::Shared;
use crate::directory::LinkId;
use crate::net::{Admission, Connection, WrongNetwork, resolve};
use crate::store::{OperationReader, OperationStore, StoreError};
use crate::types::limits::{CLOCK_AHEAD_MAX, TRACKER_FRAME_LEN_MAX};
use crate::types::{Operation, OriginId, SyncMessage, TrackerAddress, escape};
use crate::wire::Wire;
use crate::wire::frame::{FrameError, read_message, write_message};
use crate::wire::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};
use crate::wire::tracker::Hello;

/// Pause before the first new attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A link that stood this long was a good one. The pauses after shorter ones grow: a link that ends at once every time, as when the
/// other end cannot take an operation, is not to be dialled ten times a second.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// Time for one attempt to connect.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of operations in a frame, if one does not need more: small enough that on a slow line acknowledgements come often.
const FRAME_LEN: usize = 256 << 10;

/// Why a link was not made, or ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot connect: {0}")]
    Dial(#[source] io::Error),
    #[error("{0}; copy the network's key from one to the other and name it with --network-key")]
    Network(#[from] WrongNetwork),
    #[error("cannot find its address: {0}")]
    Resolve(#[source] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(#[from] LinkRefusal),
    #[error("its clock is {0} ms ahead of this tracker's; set the clocks right")]
    ClockAhead(u64),
    #[error("tracker {0} answers there; check tracker_info.txt")]
    OtherNumber(u32),
    #[error("it spoke out of turn")]
    OutOfTurn,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the link was closed")]
    Closed,
}

/// Keeps a link to tracker `number` until stopped.
///
/// # Blocking
/// Until stopped; belongs on a thread of its own.
pub(crate) fn run(shared: &Arc<Shared>, number: u32, address: &TrackerAddress) {
    let (mut pause, mut after_short) = (PAUSE_MIN, PAUSE_MIN);
    let mut told = String::new();
    while !shared.links_stop.is_set() {
        let error = match attempt(shared, number, address) {
            Ok((error, stood)) => {
                if stood >= GOOD_LIFE {
                    after_short = PAUSE_MIN;
                    told.clear();
                }
                pause = after_short;
                after_short = (after_short * 2).min(PAUSE_MAX);
                error
            }
            Err(error) => error,
        };
        if !matches!(error, LinkError::ClockAhead(_)) {
            // If its clock was wrong when it was last seen, that is no longer what keeps it away.
            shared.core.send(Input::LinkDown(LinkId::To(number)));
        }
        if shared.links_stop.is_set() {
            return;
        }
        // Said once, not at each of the attempts that fail the same way.
        let words = error.to_string();
        if words == told {
            debug!("tracker {number} at {address}: {words}");
        } else {
            warn!("tracker {number} at {address}: {}; trying again", escape(&words));
            told = words;
        }
        shared.links_stop.wait(pause.mul_f64(rand::rng().random_range(0.5..1.0)));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Dials, greets and serves one link. `Ok` says why a link that stood has ended, and how long it stood.
fn attempt(shared: &Arc<Shared>, number: u32, address: &TrackerAddress) -> Result<(LinkError, Duration), LinkError> {
    let (connection, admission) = dial(shared, address)?;
    let told = *shared.origin.lock();
    let greeted = greet(shared, number, &connection, told);
    if let Err(LinkError::ClockAhead(_)) = greeted {
        shared.core.send(Input::ClockAhead(LinkId::To(number)));
    }
    let welcome = greeted.inspect_err(|_| connection.close())?;
    info!("tracker {number} at {address}: connected");
    let began = Instant::now();
    let ended = serve(shared, number, &connection, welcome, told);
    connection.close();
    drop(admission);
    Ok((ended, began.elapsed()))
}

fn dial(shared: &Shared, address: &TrackerAddress) -> Result<(Connection, Admission), LinkError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolve(address).map_err(LinkError::Resolve)? {
        if shared.links_stop.is_set() {
            return Err(LinkError::Closed);
        }
        match shared.security.dial(address, shared.dial_from, DIAL_TIMEOUT) {
            Ok(connection) => {
                let admission = shared.dialled.admit(address.ip(), connection.clone()).ok_or(LinkError::Closed)?;
                return Ok((connection, admission));
            }
            Err(e) => last = e,
        }
    }
    Err(WrongNetwork::of(&last).map_or(LinkError::Dial(last), LinkError::Network))
}

/// Exchanges the first frames and checks who answers.
fn greet(shared: &Shared, number: u32, connection: &Connection, told: OriginId) -> Result<ReplicaWelcome, LinkError> {
    let clock_ms = wall_ms(shared.limits.clock_offset_ms);
    let hello = ReplicaHello { network: shared.network, number: shared.number, origin: told, clock_ms };
    write_message(&mut connection.writer(), &Hello::Replica(hello)).map_err(FrameError::Io)?;
    let mut reader = connection.reader();
    reader.set_deadline(Some(Instant::now() + shared.limits.handshake));
    let welcome = match read_message(&mut reader, TRACKER_FRAME_LEN_MAX)? {
        ToDialler::Welcome(welcome) => welcome,
        ToDialler::Unwelcome(why) => return Err(why.into()),
        ToDialler::Durable(_) => return Err(LinkError::OutOfTurn),
    };
    if welcome.number != number {
        return Err(LinkError::OtherNumber(welcome.number));
    }
    let ahead_ms = welcome.clock_ms.saturating_sub(wall_ms(shared.limits.clock_offset_ms));
    if u128::from(ahead_ms) > CLOCK_AHEAD_MAX.as_millis() {
        return Err(LinkError::ClockAhead(ahead_ms));
    }
    Ok(welcome)
}

/// Serves a link that stands, until it ends; says why.
fn serve(shared: &Arc<Shared>, number: u32, connection: &Connection, welcome: ReplicaWelcome, told: OriginId) -> LinkError {
    let link = LinkId::To(number);
    let (orders, received) = bounded(ORDERS_MAX);
    let (ending, ended) = bounded(1);
    let reading = {
        let (shared, connection) = (shared.clone(), connection.clone());
        move || {
            let why = listen(&shared, link, &connection);
            connection.close();
            // Cannot fail while the writer waits for it; otherwise nobody needs it.
            let _ = ending.send(why);
        }
    };
    let sink = LinkSink::Dialled { orders, connection: connection.clone() };
    // The core hears of the link before anything that the link says.
    shared.core.send(Input::LinkUp { link, origin: welcome.origin, told: Some(told), sink });
    shared.core.send(Input::LinkSaid(link, SyncMessage::Durable(welcome.durable)));
    let why = match shared.threads.spawn(format!("acks-{number}"), reading) {
        Ok(()) => {
            let why = write_orders(shared, connection, &received, &ended).err();
            connection.close();
            // The reader has said its last word to the core before the core hears that the link is down.
            let heard = ended.recv().ok();
            why.or(heard).unwrap_or(LinkError::Closed)
        }
        Err(e) => LinkError::Frame(e.into()),
    };
    shared.core.send(Input::LinkDown(link));
    why
}

/// Passes on what the other end acknowledges, until it says nothing any more.
fn listen(shared: &Shared, link: LinkId, connection: &Connection) -> LinkError {
    let mut reader = connection.reader();
    loop {
        reader.set_deadline(Some(Instant::now() + shared.limits.link_silence));
        match read_message(&mut reader, TRACKER_FRAME_LEN_MAX) {
            // The answer to a ping has nothing to say beyond that the other end is there.
            Ok(ToDialler::Durable(vector)) if vector.iter().len() == 0 => {}
            Ok(ToDialler::Durable(vector)) => {
                if !shared.core.send(Input::LinkSaid(link, SyncMessage::Durable(vector))) {
                    return LinkError::Closed;
                }
            }
            // The other end says why before it closes.
            Ok(ToDialler::Unwelcome(why)) => return why.into(),
            Ok(ToDialler::Welcome(_)) => return LinkError::OutOfTurn,
            Err(e) => return e.into(),
        }
    }
}

/// Sends what the core orders, and pings; returns when the reader has ended, the core has dropped the link, or all is to stop.
fn write_orders(
    shared: &Shared,
    connection: &Connection,
    orders: &Receiver<Order>,
    ended: &Receiver<LinkError>,
) -> Result<(), LinkError> {
    let mut store: Option<OperationReader> = None;
    let ping = Duration::max(shared.limits.link_ping, Duration::from_millis(1));
    loop {
        select! {
            recv(orders) -> order => match order {
                Ok(Order::Operations(operations)) => send_all(connection, operations)?,
                Ok(Order::Stored(ranges)) => {
                    let reader = match store.take() {
                        Some(reader) => reader,
                        None => OperationStore::reader(&shared.data_dir)?,
                    };
                    send_stored(connection, &reader, &ranges)?;
                    store = Some(reader);
                }
                Err(_) => return Ok(()),
            },
            recv(ended) -> why => return Err(why.unwrap_or(LinkError::Closed)),
            recv(shared.links_stop.channel()) -> _ => return Ok(()),
            default(ping) => write_message(&mut connection.writer(), &ToAcceptor::Ping).map_err(FrameError::Io)?,
        }
    }
}

fn send_all(connection: &Connection, operations: Vec<Operation>) -> Result<(), LinkError> {
    let mut frame = Parcel::default();
    operations.into_iter().try_for_each(|operation| frame.add(connection, operation))?;
    frame.send(connection)
}

fn send_stored(connection: &Connection, store: &OperationReader, ranges: &[(OriginId, u64, u64)]) -> Result<(), LinkError> {
    let mut frame = Parcel::default();
    for &range in ranges {
        let mut failed = None;
        store.read(range, |operation| {
            failed = frame.add(connection, operation).err();
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)?;
    }
    frame.send(connection)
}

/// Operations that will make up the next frame.
#[derive(Debug, Default)]
struct Parcel {
    operations: Vec<Operation>,
    len: usize,
}

impl Parcel {
    /// Adds an operation; what was there before leaves first if both together would be too long.
    fn add(&mut self, connection: &Connection, operation: Operation) -> Result<(), LinkError> {
        let len = operation.to_bytes().len();
        if self.len + len > FRAME_LEN {
            self.send(connection)?;
        }
        self.len += len;
        self.operations.push(operation);
        Ok(())
    }

    fn send(&mut self, connection: &Connection) -> Result<(), LinkError> {
        let Self { operations, .. } = std::mem::take(self);
        if operations.is_empty() {
            return Ok(());
        }
        Ok(write_message(&mut connection.writer(), &ToAcceptor::Operations(operations)).map_err(FrameError::Io)?)
    }
}
