//! A long way: a relay that brings every byte to the other end later, and no faster than the way
//! allows.
//!
//! **Invariant:** what came in at a time leaves no sooner than the one-way delay after the last of
//! it could have passed at the way's rate; nothing is lost, nothing overtakes. What is on its way
//! is bounded, so that a sender that is too fast is slowed as by a full queue.
//!
//! Two threads each way of a connection: one takes bytes in and notes when each chunk is due, the
//! other waits for that and passes it on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of a chunk: at the rates here it passes in a millisecond or less.
const CHUNK_LEN: usize = 16 << 10;
/// Bytes that the system may keep at the relay before it reads them, each way: those wait without
/// having begun their way.
const SYSTEM_BUFFER_LEN: usize = 128 << 10;

/// What a way is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Time to the other end and back.
    pub(crate) round_trip: Duration,
    /// Bytes a second, each way.
    pub(crate) rate: f64,
}

impl Way {
    /// Bytes on their way when it is full, both ways together.
    pub(crate) fn product(&self) -> f64 {
        self.rate * self.round_trip.as_secs_f64()
    }

    /// Chunks that find room: those on their way to one end, and a round trip's worth in the queue
    /// before it.
    fn chunks_max(&self) -> usize {
        ((self.product() * 1.5) as usize / CHUNK_LEN).max(8)
    }
}

/// Starts a relay to `to`, and returns its address. Its threads end with their connections, or with
/// the program.
pub(crate) fn start(way: Way, to: SocketAddr) -> io::Result<SocketAddr> {
    let listener = small_socket()?;
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(16)?;
    let listener = TcpListener::from(listener);
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            // Whoever dialled sees the connection end if the other end cannot be reached.
            let _ = relay(way, near, to);
        }
    });
    Ok(address)
}

fn relay(way: Way, near: TcpStream, to: SocketAddr) -> io::Result<()> {
    let far = small_socket()?;
    far.connect(&to.into())?;
    let (near, far) = (Arc::new(near), Arc::new(TcpStream::from(far)));
    for (from, into) in [(near.clone(), far.clone()), (far, near)] {
        let (sender, receiver) = sync_channel(way.chunks_max());
        let source = from.clone();
        thread::spawn(move || take_in(way, &source, &sender));
        thread::spawn(move || {
            if pass_on(&into, &receiver).is_err() {
                // The sender is to notice.
                let _ = from.shutdown(Shutdown::Both);
            }
            let _ = into.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

/// A socket with little room in the system: what a real way holds is held here instead.
fn small_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(SYSTEM_BUFFER_LEN)?;
    socket.set_send_buffer_size(SYSTEM_BUFFER_LEN)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Takes bytes in, and notes when they are due at the other end.
fn take_in(way: Way, mut from: &TcpStream, chunks: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; CHUNK_LEN];
    let mut free = Instant::now();
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        // The way takes one byte after the other: it is free again when the last of these has
        // passed.
        free = free.max(Instant::now()) + Duration::from_secs_f64(len as f64 / way.rate);
        if chunks.send((free + way.round_trip / 2, buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

/// Passes bytes on when they are due.
fn pass_on(mut into: &TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    for (due, bytes) in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        into.write_all(&bytes)?;
    }
    Ok(())
}
