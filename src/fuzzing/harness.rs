//! What the targets need that drive threads and sockets: two ends of a connection, a directory, and
//! an eye on other threads.
//!
//! **Invariant:** a panic in any thread of the code under test fails the run that it happened in.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::net::Incoming;
use crate::trust::KeyPair;

/// Names of threads of trackers and engines begin so.
const WATCHED: [&str; 6] = ["core", "notifier", "s ", "tracker-", "acks-", "posse"];
/// How long a fuzzer's end of a connection waits for anything: longer is a hang.
const PATIENCE: Duration = Duration::from_secs(8);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Panics if a thread of the code under test has panicked since the last call.
pub(crate) fn check_threads() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            // Other tests of this process have threads panic, and say so.
            let on_purpose = panic
                .payload()
                .downcast_ref::<&str>()
                .is_some_and(|words| words.contains("on purpose"));
            if !on_purpose
                && thread
                    .name()
                    .is_some_and(|name| WATCHED.iter().any(|watched| name.starts_with(watched)))
            {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(panic);
        }));
    });
    assert_eq!(PANICS.swap(0, Ordering::SeqCst), 0, "a thread of the code under test has panicked");
}

/// The key of every network here: always the same, so that an input can bear its signatures.
pub(crate) fn network_key() -> KeyPair {
    key([0x61; 32])
}

/// The key pair with that private key.
pub(crate) fn key(private: [u8; 32]) -> KeyPair {
    KeyPair::from_pkcs8(&pkcs8(private)).expect("any 32 bytes are a private key")
}

/// A private key as its file holds it, less the PEM (RFC 8410, section 7).
pub(crate) fn pkcs8(private: [u8; 32]) -> Vec<u8> {
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    [&head[..], &private].concat()
}

/// Makes the two ends of a connection: the fuzzer's, and that of the code under test. Each comes
/// from another address, or all from the one that a tracker is listed at.
pub(crate) fn pair(is_tracker: bool) -> (TcpStream, Incoming) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = if is_tracker { 0 } else { NEXT.fetch_add(1, Ordering::Relaxed) };
    let from = SocketAddr::from((
        [127, (number >> 16) as u8 & 0x7f, (number >> 8) as u8, number as u8 | 1],
        0,
    ));
    // libFuzzer's own clock may interrupt it.
    let made = (0..10).find_map(|_| connect(from).ok());
    let (ours, theirs) = made.expect("every address of 127.0.0.0/8 is this machine's");
    (ours, Incoming::new(theirs).expect("the connection has just been made"))
}

fn connect(from: SocketAddr) -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect(&listener.local_addr()?.into())?;
    let ours = TcpStream::from(socket);
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    Ok((ours, listener.accept()?.0))
}

/// A directory in memory where there is one, removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        static TIDY: Once = Once::new();
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        TIDY.call_once(|| tidy(&parent));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("posse-fuzz-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("the directory for temporary files can be written");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next process.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes what processes left that have ended: a fuzzer ends without dropping anything.
fn tidy(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix("posse-fuzz-")?.split('-').next());
        if let Some(process) = process
            && Path::new("/proc/self").exists()
            && !Path::new("/proc").join(process).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
