//! The byte stream below HTTP: with time-outs, and closable from other threads.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A byte stream. Every method may be called from any thread.
pub trait Socket: Send + Sync {
    /// Reads available bytes; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `timeout` without a byte.
    fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if that takes longer than `timeout`.
    fn send_all(&self, bytes: &[u8], timeout: Duration) -> io::Result<()>;

    /// Tells whether the other end has closed the stream. Does not consume input.
    fn is_gone(&self) -> bool;

    /// Shuts down reading: a blocked reader sees the end of the stream.
    fn end_reading(&self);

    /// Shuts down the stream.
    fn close(&self);
}

/// Implements [`Socket`] for streams of the standard library.
macro_rules! socket_of_std {
    ($($stream:ty),+) => {$(
        impl Socket for $stream {
            fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
                self.set_read_timeout(Some(timeout.max(LEAST)))?;
                loop {
                    match (&*self).read(buffer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => return other.map_err(timed_out),
                    }
                }
            }

            fn send_all(&self, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
                let deadline = Instant::now() + timeout;
                while !bytes.is_empty() {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.set_write_timeout(Some(left.max(LEAST)))?;
                    match (&*self).write(bytes) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(count) => bytes = &bytes[count..],
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(timed_out(error)),
                    }
                }
                Ok(())
            }

            fn is_gone(&self) -> bool {
                is_gone(self)
            }

            fn end_reading(&self) {
                // An error means that the stream is closed already.
                let _ = self.shutdown(Shutdown::Read);
            }

            fn close(&self) {
                // An error means that the stream is closed already.
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    )+};
}

socket_of_std!(UnixStream, TcpStream);

/// The system takes a time-out of zero for none.
const LEAST: Duration = Duration::from_millis(1);

/// Systems report a time-out in two ways.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Peeking at the input is not enough: data sent before the close hides the end of the stream.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_gone(stream: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut polled, Some(&now)) {
        Ok(_) => polled[0].revents().intersects(ends),
        Err(errno) => errno != rustix::io::Errno::INTR,
    }
}

/// Other systems do not tell it before the input is read.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_gone(stream: &impl AsFd) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0; 1];
    match recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => true,
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}
