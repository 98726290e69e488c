//! Accepts connections over TLS, with a certificate that the operator names.
//!
//! **Invariant:** nothing of the connection is readable without the key. The handshake is made on the
//! connection's thread, within the time-out of its first request.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::tcp::Tcp;
use super::{Acceptor, Socket};

/// Time for the farewell of a connection that is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read as PEM.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not fit.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A listening socket whose connections are encrypted.
pub struct Tls {
    tcp: Tcp,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Encrypts the connections of `tcp` with a chain of certificates and a key, both PEM files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn new(tcp: Tcp, certificates: &Path, key: &Path) -> Result<Self, CertificateError> {
        let wrong =
            |path: &Path, reason: String| CertificateError::File { path: path.to_owned(), reason };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(certificates, format!("no PEM certificate: {error}")))?;
        if chain.is_empty() {
            return Err(wrong(certificates, "it holds no PEM certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong(key, format!("no PEM private key: {error}")))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { tcp, config: Arc::new(config) })
    }
}

impl Acceptor for Tls {
    fn accept(&self) -> io::Result<Arc<dyn Socket>> {
        let stream = self.tcp.accept_stream()?;
        let tls = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        Ok(Arc::new(TlsSocket { stream, tls: Mutex::new(tls) }))
    }

    fn wake(&self) {
        self.tcp.wake();
    }
}

/// One connection. Its thread alone reads and writes, one after the other.
struct TlsSocket {
    stream: TcpStream,
    tls: Mutex<ServerConnection>,
}

impl TlsSocket {
    /// Sends the records that wait.
    fn flush(&self, tls: &mut ServerConnection, deadline: Instant) -> io::Result<()> {
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records)?;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if records.is_empty() { Ok(()) } else { self.stream.send_all(&records, left) }
    }
}

/// Reads a stream until a deadline.
struct Within<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl io::Read for Within<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.receive(buffer, left)
    }
}

impl Socket for TlsSocket {
    fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let deadline = Instant::now() + timeout;
        let mut tls = self.tls.lock();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // It takes what it has room for, and nothing behind `close_notify`.
            if tls.read_tls(&mut Within { stream: &self.stream, deadline })? == 0 {
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            // An alert tells the other end what is wrong.
            let sent = self.flush(&mut tls, deadline);
            processed.map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
            sent?;
        }
    }

    fn send_all(&self, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        let mut tls = self.tls.lock();
        while !bytes.is_empty() {
            let count = tls.writer().write(bytes)?;
            bytes = &bytes[count..];
            self.flush(&mut tls, deadline)?;
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        self.stream.is_gone()
    }

    fn end_reading(&self) {
        self.stream.end_reading();
    }

    fn close(&self) {
        // The connection's thread may hold it: then it is closed from another one, by force.
        if let Some(mut tls) = self.tls.try_lock() {
            tls.send_close_notify();
            // The other end may be gone.
            let _ = self.flush(&mut tls, Instant::now() + CLOSE_TIMEOUT);
        }
        self.stream.close();
    }
}
