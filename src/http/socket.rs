//! What HTTP runs over: a byte stream with time-outs that other threads can end.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

/// A byte stream. All methods may be called from any thread.
pub trait Socket: Send + Sync {
    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if nothing has come in that time.
    fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize>;

    /// Writes everything.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it was not taken in that time.
    fn send_all(&self, bytes: &[u8], timeout: Duration) -> io::Result<()>;

    /// Tells whether the other end has closed the stream, without reading from it.
    fn is_gone(&self) -> bool;

    /// Ends reading: a reader sees the end of the stream.
    fn end_reading(&self);

    /// Ends the stream.
    fn close(&self);
}

/// What the streams of the standard library have in common, each under its own name.
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
                // It has ended already if this fails.
                let _ = self.shutdown(Shutdown::Read);
            }

            fn close(&self) {
                // It has ended already if this fails.
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    )+};
}

socket_of_std!(UnixStream, TcpStream);

/// A time-out of zero would be none.
const LEAST: Duration = Duration::from_millis(1);

/// A time-out has two names, depending on the system.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

fn is_gone(stream: &impl AsFd) -> bool {
    let mut byte = [0; 1];
    match recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => true,
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}
