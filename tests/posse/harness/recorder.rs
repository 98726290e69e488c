//! Somebody on the wire: records all that passes between two ends, and spoils what it is told to.
//!
//! It knows where TLS records begin and end, and nothing else of them.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::gate::dial;

/// Bytes before a TLS record's body.
const HEADER_LEN: usize = 5;

/// What is done to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// A bit of its body is changed.
    Flip,
    /// It comes twice.
    Replay,
    /// It does not come.
    Drop,
    /// The one after it comes first.
    Swap,
    /// It ends in its middle, and with it the connection.
    Truncate,
}

/// What is done, and where: to the record of that number, from 0, of the next connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) mischief: Mischief,
    pub(crate) record: u64,
    /// In the direction of the end that dialled, or that of the one that accepted.
    pub(crate) to_dialler: bool,
}

#[derive(Debug, Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    seen: Mutex<Vec<u8>>,
    plan: Mutex<Option<Plan>>,
    spoiled: AtomicU64,
    passed: AtomicU64,
    stop: AtomicBool,
    /// The connections that pass now, or did.
    passing: Mutex<Vec<TcpStream>>,
}

/// Passes connections on and keeps what it sees; new ones end with this value.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Takes connections at `listen` and passes each on, dialled from `from`, to what it is aimed
    /// at.
    pub(crate) fn start(listen: SocketAddr, from: Option<IpAddr>) -> Self {
        let listener =
            TcpListener::bind(listen).unwrap_or_else(|e| panic!("cannot listen on {listen}: {e}"));
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = shared.clone();
            move || {
                for dialled in listener.incoming().flatten() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let target = *shared.target.lock();
                    let Some(Ok(onward)) = target.map(|target| dial(target, from)) else {
                        continue;
                    };
                    let plan = shared.plan.lock().take();
                    shared.passing.lock().extend(dialled.try_clone());
                    pass(&dialled, &onward, &shared, plan.filter(|plan| !plan.to_dialler));
                    pass(&onward, &dialled, &shared, plan.filter(|plan| plan.to_dialler));
                }
            }
        });
        Self { address, shared }
    }

    /// Says where connections go.
    pub(crate) fn aim(&self, target: SocketAddr) {
        *self.shared.target.lock() = Some(target);
    }

    /// Everything that has passed, in both directions of all connections.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.shared.seen.lock().clone()
    }

    /// Spoils the next connection.
    pub(crate) fn spoil(&self, plan: Plan) {
        *self.shared.plan.lock() = Some(plan);
    }

    /// Ends the connections that pass now, so that both ends make new ones.
    pub(crate) fn cut(&self) {
        self.shared
            .passing
            .lock()
            .drain(..)
            .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Number of connections that were spoiled and have ended, by what their ends did.
    pub(crate) fn spoiled(&self) -> u64 {
        self.shared.spoiled.load(Ordering::SeqCst)
    }

    /// Bytes that have passed.
    pub(crate) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which may be gone.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// Copies one direction, record by record, on a thread that ends with either connection.
fn pass(from: &TcpStream, to: &TcpStream, shared: &Arc<Shared>, plan: Option<Plan>) {
    let (mut from, mut to) = (
        from.try_clone().expect("descriptors are left"),
        to.try_clone().expect("descriptors are left"),
    );
    let shared = shared.clone();
    std::thread::spawn(move || {
        let spoiled = copy(&mut from, &mut to, &shared, plan).is_some_and(|spoiled| spoiled);
        // Either end may be closed already.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        if spoiled {
            shared.spoiled.fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// Tells whether it came to carry out the plan.
fn copy(
    from: &mut TcpStream,
    to: &mut TcpStream,
    shared: &Shared,
    plan: Option<Plan>,
) -> Option<bool> {
    let (mut held, mut spoiled): (Option<Vec<u8>>, bool) = (None, false);
    for number in 0.. {
        let Some(mut record) = read_record(from) else { break };
        shared.seen.lock().extend_from_slice(&record);
        shared.passed.fetch_add(record.len() as u64, Ordering::SeqCst);
        let mut out = vec![];
        match plan.filter(|plan| plan.record == number).map(|plan| plan.mischief) {
            None => out.push(record),
            Some(mischief) => {
                spoiled = true;
                match mischief {
                    Mischief::Flip => {
                        let middle = HEADER_LEN + (record.len() - HEADER_LEN) / 2;
                        record[middle] ^= 0x10;
                        out.push(record);
                    }
                    Mischief::Replay => out.extend([record.clone(), record]),
                    Mischief::Drop => {}
                    Mischief::Swap => held = Some(record),
                    Mischief::Truncate => {
                        let _ = to.write_all(&record[..record.len() / 2]);
                        return Some(true);
                    }
                }
            }
        }
        if !out.is_empty() && plan.is_some_and(|plan| number > plan.record) {
            out.extend(held.take());
        }
        if out.iter().any(|record| to.write_all(record).is_err()) {
            break;
        }
    }
    Some(spoiled)
}

fn read_record(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut record = vec![0; HEADER_LEN];
    from.read_exact(&mut record).ok()?;
    let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(HEADER_LEN + len, 0);
    from.read_exact(&mut record[HEADER_LEN..]).ok()?;
    Some(record)
}
