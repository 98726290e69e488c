//! The server over TLS, against clients that mix sizes of records and end at odd places.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Echo, GET, PATIENCE};
use crate::http::{Acceptor as _, Server, Socket, Tcp, Tls};

/// A listener with a certificate of its own, and a configuration that trusts it.
fn listener() -> (Tls, SocketAddr, Arc<ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = |label, bytes: &[u8]| pem::encode(&pem::Pem::new(label, bytes));
    std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    let tcp = Tcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = tcp.local_addr().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Tls::new(tcp, &cert, &key).unwrap(), address, Arc::new(config))
}

/// A client that makes its records itself.
struct Client {
    tls: ClientConnection,
    stream: TcpStream,
}

impl Client {
    fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        Self { tls, stream }
    }

    fn shake_hands(&mut self) {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.stream).unwrap();
        }
    }

    /// One record of these bytes, or more if they are too many for one.
    fn record(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.tls.writer().write_all(bytes).unwrap();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut record).unwrap();
        }
        record
    }

    /// Sends what ends the stream, with more behind it.
    fn end(&mut self, more: &[u8]) {
        self.tls.send_close_notify();
        let bytes = [self.record(b""), more.to_vec()].concat();
        self.stream.write_all(&bytes).unwrap();
    }
}

#[test]
fn what_follows_the_end_of_the_stream_ends_the_connection() {
    let (tls, address, config) = listener();
    let server = Server::start("test", tls, Echo).unwrap();
    for more in [0, 100, 5000, 100_000] {
        let mut client = Client::connect(address, config.clone());
        client.shake_hands();
        client.end(&vec![23; more]);
        let mut rest = Vec::new();
        let end = client.stream.read_to_end(&mut rest).map_err(|error| error.kind());
        assert!(end.is_ok() || end == Err(std::io::ErrorKind::ConnectionReset), "{more}: {end:?}");
    }
    assert_eq!(server.stop(Duration::from_secs(1)), Vec::<String>::new());
}

#[test]
fn a_body_arrives_however_its_records_are_cut() {
    let (tls, address, config) = listener();
    let _server = Server::start("test", tls, Echo).unwrap();
    for sizes in [&[16384, 100][..], &[1, 16384, 4000], &[16384], &[5, 3000, 12000, 16384, 7]] {
        let mut client = Client::connect(address, config.clone());
        client.shake_hands();
        let len: usize = sizes.iter().sum::<usize>() * 40;
        let head = format!(
            "PUT /count HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n"
        );
        let mut bytes = client.record(head.as_bytes());
        for size in sizes.repeat(40) {
            bytes.extend(client.record(&vec![b'x'; size]));
        }
        client.stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        let mut stream = rustls::Stream::new(&mut client.tls, &mut client.stream);
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.ends_with(&format!("\r\n\r\n{len}")), "{sizes:?}: {answer:?}");
    }
}

#[test]
fn a_client_that_has_gone_is_noticed_behind_what_it_left() {
    let (tls, address, config) = listener();
    let taking = std::thread::spawn(move || {
        let socket = tls.accept().unwrap();
        let mut bytes = [0; 1000];
        let count = socket.receive(&mut bytes, PATIENCE).unwrap();
        assert_eq!(&bytes[..count], GET);
        socket
    });
    let mut client = Client::connect(address, config);
    client.shake_hands();
    let asked = client.record(GET);
    client.stream.write_all(&asked).unwrap();
    let socket: Arc<dyn Socket> = taking.join().unwrap();
    assert!(!socket.is_gone());
    let more = client.record(GET);
    client.stream.write_all(&more).unwrap();
    assert!(!socket.is_gone());
    client.end(b"");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let begun = Instant::now();
    while !socket.is_gone() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::yield_now();
    }
}
