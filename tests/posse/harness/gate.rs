//! A toll gate in front of a client: its links pass through, and no more bytes come out than the
//! test lets through.
//!
//! The client listens on one address of the loopback network and reaches the trackers through
//! forwarders that dial from another; so trackers announce that other address, where the gate
//! listens. The client itself knows nothing of it. One that is killed while bytes wait at its gate
//! looks like a machine that lost its network: its links do not end, they fall silent.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Bytes moved at a time; a gate closes that precisely.
const STEP: usize = 16 << 10;

#[derive(Debug)]
struct State {
    passed: u64,
    allowed: u64,
    closed: bool,
}

/// Counts the bytes that leave a client, and holds them back beyond what is allowed.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    /// Makes a gate that lets everything through.
    pub(crate) fn open() -> Self {
        Self(Arc::new((
            Mutex::new(State { passed: 0, allowed: u64::MAX, closed: false }),
            Condvar::new(),
        )))
    }

    /// Lets `bytes` in all through, counted from the start, and holds the rest back.
    pub(crate) fn allow(&self, bytes: u64) {
        self.0.0.lock().allowed = bytes;
        self.0.1.notify_all();
    }

    /// Lets everything through from now on.
    pub(crate) fn lift(&self) {
        self.allow(u64::MAX);
    }

    /// Bytes that have come through.
    pub(crate) fn passed(&self) -> u64 {
        self.0.0.lock().passed
    }

    /// Waits until at least `bytes` have come through.
    #[track_caller]
    pub(crate) fn wait_passed(&self, bytes: u64) {
        let mut state = self.0.0.lock();
        let timed_out =
            self.0.1.wait_while_for(&mut state, |state| state.passed < bytes, PATIENCE).timed_out();
        assert!(!timed_out, "only {} of {bytes} bytes came through the gate", state.passed);
    }

    /// Takes leave for up to `len` bytes; none if the gate is gone.
    fn take(&self, len: usize) -> Option<usize> {
        let mut state = self.0.0.lock();
        while !state.closed && state.passed >= state.allowed {
            self.0.1.wait(&mut state);
        }
        let len = (len as u64).min(state.allowed.saturating_sub(state.passed));
        state.passed += len;
        self.0.1.notify_all();
        (!state.closed).then_some(len as usize)
    }

    fn close(&self) {
        self.0.0.lock().closed = true;
        self.0.1.notify_all();
    }
}

/// Passes connections on; new ones end with this value.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    gate: Gate,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Forwarder {
    /// Takes connections at `listen`, and passes each on to `target`, dialled from `from`; what
    /// comes back passes the gate.
    pub(crate) fn start(
        listen: SocketAddr,
        target: SocketAddr,
        from: Option<IpAddr>,
        gate: Gate,
    ) -> Self {
        let listener =
            TcpListener::bind(listen).unwrap_or_else(|e| panic!("cannot listen on {listen}: {e}"));
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        std::thread::spawn({
            let (gate, stop) = (gate.clone(), stop.clone());
            move || {
                for dialled in listener.incoming().flatten() {
                    if stop.load(std::sync::atomic::Ordering::SeqCst) {
                        return;
                    }
                    // A target that is down looks like a connection that ends at once.
                    let Ok(onward) = dial(target, from) else { continue };
                    pass(&onward, &dialled, gate.clone());
                    pass(&dialled, &onward, Gate::open());
                }
            }
        });
        Self { address, gate, stop }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        self.gate.close();
        // Wakes the accepting thread, which may be gone.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

pub(super) fn dial(target: SocketAddr, from: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.connect_timeout(&target.into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

/// Copies one direction on a thread that ends with either connection.
fn pass(from: &TcpStream, to: &TcpStream, gate: Gate) {
    let (mut from, mut to) = (
        from.try_clone().expect("descriptors are left"),
        to.try_clone().expect("descriptors are left"),
    );
    std::thread::spawn(move || {
        let mut buffer = vec![0; STEP];
        'copy: while let Ok(len @ 1..) = from.read(&mut buffer) {
            let mut rest = &buffer[..len];
            while !rest.is_empty() {
                let Some(leave) = gate.take(rest.len()) else { break 'copy };
                let (now, later) = rest.split_at(leave);
                if to.write_all(now).is_err() {
                    break 'copy;
                }
                rest = later;
            }
        }
        // Either end may be closed already.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
