//! The thread that keeps a link to one other tracker: dials it, sends it rows, and dials again when
//! the link is lost.
//!
//! **Invariant:** one link at a time; the core hears of its beginning and its end, in this order,
//! from this thread.
//!
//! While a link stands a second, small thread reads what the other end acknowledges. Silence for
//! [`TrackerLimits::link_silence`](super::config::TrackerLimits) ends the link; pings keep an idle
//! one from being silent. That an acknowledgement is late, the replica notices by itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};
use log::{debug, error, info, warn};
use rand::RngExt;

use super::clock::wall_ms;
use super::core::Input;
use super::shared::Shared;
use super::sink::{LinkSink, ORDERS_MAX, Order};
use crate::directory::LinkId;
use crate::net::{Admission, Connection, WrongNetwork, resolve};
use crate::store::{RowReader, RowStore, StoreError};
use crate::trust::NetworkPublicKey;
use crate::types::limits::{CLOCK_AHEAD_MAX, ROWS_PER_BATCH_MAX, TRACKER_FRAME_LEN_MAX};
use crate::types::{Row, RowBatch, SyncMessage, TrackerAddress, VersionVector, escape};
use crate::wire::Wire;
use crate::wire::frame::{FrameError, read_message, write_message};
use crate::wire::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};
use crate::wire::tracker::{Hello, Opening};

/// Pause before the first new attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A link that stood this long was a good one. The pauses after shorter ones grow: a link that ends
/// at once every time, as when the other end cannot take an operation, is not to be dialled ten
/// times a second.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// Time for one attempt to connect.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of rows in a frame, if one does not need more: small enough that on a slow line
/// acknowledgements come often.
const FRAME_LEN: usize = 256 << 10;

/// Why a link was not made, or ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot connect: {0}")]
    Dial(#[source] io::Error),
    #[error(
        "{0}; copy the network's key from one to the other and name it with --network-key; if it is being replaced, see \
             `rotate_key` in OPERATING.md"
    )]
    Network(#[from] WrongNetwork),
    #[error("cannot find its address: {0}")]
    Resolve(#[source] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(Box<LinkRefusal>),
    #[error("tracker {0} answers there; check tracker_info.txt")]
    OtherNumber(u32),
    #[error("it spoke out of turn")]
    OutOfTurn,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the link was closed")]
    Closed,
}

impl From<LinkRefusal> for LinkError {
    fn from(why: LinkRefusal) -> Self {
        Self::Refused(Box::new(why))
    }
}

/// Starts the thread that keeps a link to tracker `number` until that is removed, or this tracker
/// stops.
pub(crate) fn start(shared: &Arc<Shared>, number: u32) {
    let thread = {
        let shared = shared.clone();
        move || run(&shared, number)
    };
    if let Err(e) = shared.threads.spawn(format!("tracker-{number}"), thread) {
        error!("no thread to reach tracker {number}: {e}");
    }
}

/// Keeps a link to tracker `number` until stopped.
///
/// # Blocking
/// Until stopped; belongs on a thread of its own.
fn run(shared: &Arc<Shared>, number: u32) {
    let (mut pause, mut after_short) = (PAUSE_MIN, PAUSE_MIN);
    let mut told = String::new();
    while let Some(address) = shared.peer_address(number).filter(|_| !shared.links_stop.is_set()) {
        let address = &address;
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
        shared.core.send(Input::LinkDown(LinkId::To(number)));
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

/// Dials, greets and serves one link. `Ok` says why a link that stood has ended, and how long it
/// stood.
fn attempt(
    shared: &Arc<Shared>,
    number: u32,
    address: &TrackerAddress,
) -> Result<(LinkError, Duration), LinkError> {
    let (connection, key, admission) = dial(shared, address)?;
    let welcome = greet(shared, number, &connection).inspect_err(|_| connection.close());
    if let Err(LinkError::Refused(why)) = &welcome
        && let LinkRefusal::KeyReplaced(rotation) = **why
    {
        shared.core.send(Input::KeyReplaced(rotation));
    }
    let welcome = welcome?;
    info!("tracker {number} at {address}: connected");
    let began = Instant::now();
    let ended = serve(shared, number, (&connection, key), welcome);
    connection.close();
    drop(admission);
    Ok((ended, began.elapsed()))
}

fn dial(
    shared: &Shared,
    address: &TrackerAddress,
) -> Result<(Connection, NetworkPublicKey, Admission), LinkError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolve(address).map_err(LinkError::Resolve)? {
        if shared.links_stop.is_set() {
            return Err(LinkError::Closed);
        }
        match shared.keys.ring().security.dial(address, shared.dial_from, DIAL_TIMEOUT) {
            Ok((connection, key)) => {
                let admission = shared
                    .dialled
                    .admit(address.ip(), connection.clone())
                    .ok_or(LinkError::Closed)?;
                return Ok((connection, key, admission));
            }
            Err(e) => last = e,
        }
    }
    Err(WrongNetwork::of(&last).map_or(LinkError::Dial(last), LinkError::Network))
}

/// Exchanges the first frames and checks who answers.
fn greet(
    shared: &Shared,
    number: u32,
    connection: &Connection,
) -> Result<ReplicaWelcome, LinkError> {
    let hello = Hello::Replica(ReplicaHello {
        number: shared.number,
        address: shared.own_label(),
        lineage: shared.lineage.clone(),
        clock_ms: wall_ms(shared.limits.clock_offset_ms),
        trackers: shared.tracker_labels(),
    });
    write_message(&mut connection.writer(), &Opening::new(hello)).map_err(FrameError::Io)?;
    let mut reader = connection.reader();
    reader.set_deadline(Some(Instant::now() + shared.limits.handshake));
    let welcome = match read_message(&mut reader, TRACKER_FRAME_LEN_MAX)? {
        ToDialler::Welcome(welcome) => welcome,
        ToDialler::Unwelcome(why) => return Err(why.into()),
        ToDialler::Durable(_) | ToDialler::Unknown { .. } => return Err(LinkError::OutOfTurn),
    };
    if welcome.number != number {
        return Err(LinkError::OtherNumber(welcome.number));
    }
    let apart_ms = welcome.clock_ms.abs_diff(wall_ms(shared.limits.clock_offset_ms));
    if u128::from(apart_ms) > CLOCK_AHEAD_MAX.as_millis() {
        warn!(
            "tracker {number}: its clock and this tracker's are {} s apart; set them right: clients refuse to go by both",
            apart_ms / 1000
        );
    }
    shared.compare_trackers(number, &welcome.trackers);
    Ok(welcome)
}

/// Serves a link that stands, until it ends; says why.
fn serve(
    shared: &Arc<Shared>,
    number: u32,
    (connection, key): (&Connection, NetworkPublicKey),
    welcome: ReplicaWelcome,
) -> LinkError {
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
    let greeting = Some((welcome.durable, welcome.is_empty));
    shared.core.send(Input::LinkUp { link, lineage: welcome.lineage, greeting, sink });
    let why = match shared.threads.spawn(format!("acks-{number}"), reading) {
        Ok(()) => {
            let why = write_orders(shared, (connection, key), &received, &ended).err();
            connection.close();
            // The reader has said its last word to the core before the core hears that the link is
            // down.
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
            Ok(ToDialler::Durable(durable))
                if durable.checkpoint == 0 && durable.vector.iter().len() == 0 => {}
            Ok(ToDialler::Unknown { .. }) => {}
            Ok(ToDialler::Durable(durable)) => {
                if !shared.core.send(Input::LinkSaid(link, SyncMessage::Durable(durable))) {
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

/// Sends what the core orders, and pings; returns when the reader has ended, the core has dropped
/// the link, or all is to stop.
fn write_orders(
    shared: &Shared,
    (connection, key): (&Connection, NetworkPublicKey),
    orders: &Receiver<Order>,
    ended: &Receiver<LinkError>,
) -> Result<(), LinkError> {
    let mut store: Option<RowReader> = None;
    let ping = Duration::max(shared.limits.link_ping, Duration::from_millis(1));
    loop {
        select! {
            recv(orders) -> order => match order {
                Ok(Order::Rows(batch)) => send_batch(connection, batch)?,
                Ok(Order::Stored { after, through, known }) => {
                    let reader = match store.take() {
                        Some(reader) => reader,
                        None => RowStore::reader(&shared.data_dir)?,
                    };
                    send_stored(connection, &reader, after, through, &known)?;
                    store = Some(reader);
                }
                Ok(Order::MustResync) => {
                    write_message(&mut connection.writer(), &ToAcceptor::MustResync).map_err(FrameError::Io)?;
                }
                Err(_) => return Ok(()),
            },
            recv(ended) -> why => return Err(why.unwrap_or(LinkError::Closed)),
            recv(shared.links_stop.channel()) -> _ => return Ok(()),
            default(ping) => {
                if !shared.keys.ring().bears_link(key) {
                    return Err(shared.keys.ring().refusal(key).into());
                }
                #[cfg(feature = "later-version")]
                write_message(&mut connection.writer(), &ToAcceptor::Unknown { tag: crate::wire::later::TAG })
                    .map_err(FrameError::Io)?;
                write_message(&mut connection.writer(), &ToAcceptor::Ping).map_err(FrameError::Io)?;
            }
        }
    }
}

fn send_batch(connection: &Connection, batch: RowBatch) -> Result<(), LinkError> {
    Ok(write_message(&mut connection.writer(), &ToAcceptor::Rows(batch)).map_err(FrameError::Io)?)
}

/// Sends rows of the store in frames that end between two transactions; the last one ends at
/// `through`.
fn send_stored(
    connection: &Connection,
    store: &RowReader,
    after: u64,
    through: u64,
    known: &VersionVector,
) -> Result<(), LinkError> {
    let mut frame = Parcel::default();
    let mut failed = None;
    store.read_after(after, through, |sequence, row| {
        // Every row before this one belongs to an earlier transaction, or to the same.
        failed = frame.end_at(connection, sequence).err();
        if !known.has(row.place) {
            frame.len += row.to_bytes().len();
            frame.rows.push(row);
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;
    send_batch(connection, RowBatch { rows: frame.rows, through, complete: None })
}

/// Rows that will make up the next frame.
#[derive(Debug, Default)]
struct Parcel {
    rows: Vec<Row>,
    len: usize,
    /// The update sequence of the transaction that was added to last.
    sequence: u64,
}

impl Parcel {
    /// A row of that update sequence follows: if it begins a transaction and there is enough in the
    /// frame, the frame leaves.
    fn end_at(&mut self, connection: &Connection, sequence: u64) -> Result<(), LinkError> {
        let begins = sequence != self.sequence;
        let is_full = self.len >= FRAME_LEN || self.rows.len() >= ROWS_PER_BATCH_MAX / 4;
        if begins && is_full {
            self.len = 0;
            let rows = std::mem::take(&mut self.rows);
            send_batch(connection, RowBatch { rows, through: self.sequence, complete: None })?;
        }
        self.sequence = sequence;
        Ok(())
    }
}
