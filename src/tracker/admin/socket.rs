//! The control socket: where a tracker takes the operator's commands from other processes.
//!
//! **Invariant:** only the owner of the data directory can open it: the file has mode 0600 from its
//! first moment. A request is bounded in length and time, and so are the connections.
//!
//! A request is one line, `{"version":1,"command":"...","arguments":[...],"json":false}`. The
//! answer is lines `{"line":...}`, with a text or an object, and at last `{"status":0}` or
//! `{"status":1,"error":"..."}`; the status is that of `tracker admin`.

use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustix::fs::{Mode, fchmod};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{AdminError, Line, SOCKET, VERSION, carry_out};
use crate::tracker::shared::Shared;

/// Bytes of a request.
const REQUEST_LEN_MAX: usize = 64 << 10;
/// Operators served at a time.
const CONNECTIONS_MAX: usize = 4;
/// Time for a request to arrive, and for each write of the answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Pause after a connection could not be accepted.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// The control socket of a tracker.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Counts a connection while it is served.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AdminSocket {
    /// Makes the socket in a data directory that the caller has locked; the one of a tracker that
    /// was killed is removed. The tracker runs without it if that fails.
    pub(crate) fn bind_or_warn(data_dir: &Path) -> Option<Self> {
        let path = data_dir.join(SOCKET);
        match Self::bind(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let hint = if error.kind() == io::ErrorKind::InvalidInput {
                    "; a socket's path has at most 107 bytes: use a data directory with a shorter one"
                } else {
                    ""
                };
                warn!(
                    "{}: no control socket: {error}{hint}; `tracker admin` does not reach this tracker",
                    path.display()
                );
                None
            }
        }
    }

    fn bind(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The file gets the mode that the socket has when it is bound.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&address)?;
        socket.listen(CONNECTIONS_MAX as i32)?;
        Ok(Self { listener: socket.into(), path: path.to_owned() })
    }

    /// Serves operators until the tracker stops and [`AdminSocket::wake`] is called.
    ///
    /// # Blocking
    /// Until stopped; belongs on a thread of its own.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        let connections = Arc::new(AtomicUsize::new(0));
        while !shared.stop.is_set() {
            match self.listener.accept() {
                Ok(_) if shared.stop.is_set() => return,
                Ok((stream, _)) => take(shared, &connections, stream),
                Err(_) if shared.stop.is_set() => return,
                Err(error) => {
                    debug!("control socket: {error}");
                    shared.stop.wait(SHORTAGE_PAUSE);
                }
            }
        }
    }

    /// Wakes the thread in [`AdminSocket::run`], so that it sees that it is to stop.
    pub(crate) fn wake(&self) {
        // It has ended if this fails.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }

    /// Removes the file. The caller still has the directory's lock.
    pub(crate) fn remove(&self) {
        // A file that stays is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn take(shared: &Arc<Shared>, connections: &Arc<AtomicUsize>, stream: UnixStream) {
    let count = connections.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(connections.clone());
    if count >= CONNECTIONS_MAX {
        // Whoever does not take these few bytes learns it by the end of the connection.
        let _ = stream.set_nonblocking(true);
        let _ = finish(
            &mut &stream,
            1,
            Some("too many operators are connected; try again in a moment"),
        );
        return;
    }
    let shared_of_thread = shared.clone();
    let work = move || {
        let _counted = counted;
        if let Err(error) = serve(&shared_of_thread, &stream) {
            debug!("control socket: {error}");
        }
    };
    if let Err(error) = shared.threads.spawn("operator", work) {
        warn!("control socket: no thread for an operator: {error}");
    }
}

fn serve(shared: &Arc<Shared>, stream: &UnixStream) -> io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut out = BufWriter::new(stream);
    let (words, as_json) = match read_request(stream) {
        Ok(request) => request,
        Err(error) => {
            finish(
                &mut out,
                2,
                Some(&format!("not a request that this tracker understands: {error}")),
            )?;
            return out.flush();
        }
    };
    let mut put = |line: Line| {
        if shared.stop.is_set() {
            return Err(io::Error::other("the tracker stops"));
        }
        let shown = line.shown(as_json);
        writeln!(out, "{}", json!({ "line": shown }))
    };
    match carry_out(shared, &words, None, &mut put) {
        Ok(()) => finish(&mut out, 0, None)?,
        Err(AdminError::Output(error)) => return Err(error),
        Err(error) => finish(&mut out, error.exit_status(), Some(&error.to_string()))?,
    }
    out.flush()
}

fn finish(out: &mut impl Write, status: u8, error: Option<&str>) -> io::Result<()> {
    let end = match error {
        None => json!({ "status": status }),
        Some(error) => json!({ "status": status, "error": error }),
    };
    writeln!(out, "{end}")
}

/// Reads a request: the words of a command, and whether the answer is to be JSON.
fn read_request(stream: &UnixStream) -> io::Result<(Vec<String>, bool)> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let line = read_line(stream)?;
    let request: Value = serde_json::from_slice(&line).map_err(|_| wrong("it is no JSON"))?;
    if request["version"].as_u64() != Some(VERSION) {
        return Err(wrong("it is of another version of the control protocol"));
    }
    let command = request["command"].as_str().ok_or_else(|| wrong("it has no command"))?;
    let arguments = request["arguments"].as_array().map(Vec::as_slice).unwrap_or_default();
    let arguments = arguments.iter().map(|argument| argument.as_str().map(str::to_owned));
    let words: Option<Vec<String>> =
        std::iter::once(Some(command.to_owned())).chain(arguments).collect();
    let words = words.ok_or_else(|| wrong("an argument is no text"))?;
    Ok((words, request["json"].as_bool().unwrap_or(false)))
}

fn read_line(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + TIMEOUT;
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut chunk)?;
        let part = &chunk[..count];
        if let Some(at) = part.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&part[..at]);
            return Ok(line);
        }
        line.extend_from_slice(part);
        if count == 0 || line.len() > REQUEST_LEN_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not end"));
        }
    }
}
