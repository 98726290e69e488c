//! Two ends in memory. One of them also encrypts by hand what rustls would never send.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, version};

use super::*;
use crate::trust::{Identity, KeyPair};

/// Takes whoever answers: these tests are about what comes after.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A client and a server between which the handshake is over.
fn ends() -> (TlsStream, TlsStream) {
    let cipher_suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(CryptoProvider { cipher_suites, ..provider::default_provider() });
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut client = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    client.enable_secret_extraction = true;
    let identity = Identity::of_device(&KeyPair::generate().unwrap()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut server = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    server.send_tls13_tickets = 0;
    let name = ServerName::try_from("anybody").unwrap();
    let mut client = Tls::Client(Box::new(UnbufferedClientConnection::new(Arc::new(client), name).unwrap()));
    let mut server = Tls::Server(Box::new(UnbufferedServerConnection::new(Arc::new(server)).unwrap()));
    let (mut to_client, mut to_server) = (Input::default(), Input::default());
    while client.is_handshaking() || server.is_handshaking() {
        turn(&mut client, &mut to_client, &mut to_server);
        turn(&mut server, &mut to_server, &mut to_client);
    }
    (TlsStream::new(client, Vec::new(), to_client), TlsStream::new(server, Vec::new(), to_server))
}

/// Lets one end do what it can, and hands what it says to the other.
fn turn(tls: &mut Tls, input: &mut Input, other: &mut Input) {
    let mut output = Output::default();
    while tls.step(input, &mut output, &[], &mut |_| {}).unwrap() == Next::Step {}
    receive(other, output.waiting()).unwrap();
}

fn receive(input: &mut Input, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let room = input.room();
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        input.received(len)?;
        bytes = &bytes[len..];
    }
    Ok(())
}

/// Has the stream receive `bytes`, and reads until it wants more.
fn read(stream: &mut TlsStream, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (mut got, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match stream.read(&mut buffer)? {
            Received::Bytes(len) => got.extend_from_slice(&buffer[..len]),
            Received::Closed => return Ok(got),
            Received::More(input) if bytes.is_empty() => {
                assert!(stream.put_back(input, Err(io::ErrorKind::WouldBlock.into())).is_err());
                return Ok(got);
            }
            Received::More(mut input) => {
                let room = input.room();
                let len = room.len().min(bytes.len());
                room[..len].copy_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
                stream.put_back(input, Ok(len))?;
            }
        }
    }
}

fn write(stream: &mut TlsStream, message: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    stream.write(message, &mut output).unwrap();
    output.waiting().to_vec()
}

/// A client's end from which records of any kind come.
struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    fn new(client: TlsStream) -> Self {
        let Tls::Client(client) = client.tls else { panic!("it is the client's end") };
        // Whoever gives its secrets away must know how to go on itself.
        let inner = *client;
        let secrets = inner.dangerous_into_kernel_connection().unwrap().0;
        let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else { panic!("another cipher") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    /// A record whose content is of that kind: 22 a part of the handshake, 23 data.
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut body = [content, &[kind]].concat();
        let len = (body.len() + AES_128_GCM.tag_len()) as u16;
        let header = [&[23, 3, 3][..], &len.to_be_bytes()].concat();
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
        self.sequence += 1;
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut body).unwrap();
        [header, body].concat()
    }
}

#[test]
fn data_arrives_however_it_is_cut() {
    let (mut client, mut server) = ends();
    let message: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for cut in [1, 7, 1_000, 16_384, 100_000] {
        let sent = write(&mut client, &message);
        let got: Vec<u8> = sent.chunks(cut).flat_map(|bytes| read(&mut server, bytes).unwrap()).collect();
        assert!(got == message, "cut every {cut} bytes");
        // Between two reads, with half a record there, the other direction works.
        let back = write(&mut server, b"back");
        assert_eq!(read(&mut client, &back).unwrap(), b"back");
    }
    let sent = write(&mut client, &message);
    assert_eq!(read(&mut server, &sent[..20_000]).unwrap().len(), 16_384);
    let back = write(&mut server, b"in between");
    assert_eq!(read(&mut client, &back).unwrap(), b"in between");
    assert!(!server.has_input(), "half a record is nothing to read");
    assert_eq!(read(&mut server, &sent[20_000..]).unwrap(), message[16_384..]);
}

#[test]
fn an_altered_byte_is_the_end() {
    let message = vec![7; 40_000];
    for place in (0..8).chain([100, 16_404, 16_405, 16_407, 16_409, 16_500, 40_050]) {
        let (mut client, mut server) = ends();
        let mut sent = write(&mut client, &message);
        sent[place] ^= 1;
        match read(&mut server, &sent) {
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::InvalidData, "byte {place}");
                assert!(read(&mut server, b"").is_err(), "it goes on after byte {place}");
            }
            Ok(got) => panic!("byte {place} was altered, and {} bytes were read", got.len()),
        }
    }
    let (mut client, mut server) = ends();
    let sent = write(&mut client, b"once");
    read(&mut server, &sent).unwrap();
    assert!(read(&mut server, &sent).is_err(), "replayed");
}

/// Half a message of TLS itself would have to be kept with the bytes it came in; nobody honest sends one.
#[test]
fn half_a_message_of_tls_itself_is_refused_and_panics_nowhere() {
    for (what, parts) in [("a new key", &[&[24, 0][..], &[0, 1, 0]][..]), ("a ticket", &[&[4, 0, 1, 0, 9, 9, 9][..]])] {
        let (client, mut server) = ends();
        let mut forger = Forger::new(client);
        let data = forger.record(23, b"data");
        assert_eq!(read(&mut server, &data).unwrap(), b"data");
        let mut refused = false;
        for part in parts {
            let record = forger.record(22, part);
            refused |= read(&mut server, &record).is_err();
            assert!(refused || server.write(b"x", &mut Output::default()).is_ok());
        }
        assert!(refused, "{what}");
        assert!(server.write(b"x", &mut Output::default()).is_err());
    }
}

#[test]
fn new_keys_are_answered_once_and_data_goes_on() {
    let (mut client, mut server) = ends();
    for _ in 0..3 {
        let Tls::Client(tls) = &mut client.tls else { panic!("it is the client's end") };
        let ConnectionState::WriteTraffic(traffic) = tls.process_tls_records(&mut []).state.unwrap() else {
            panic!("it may write")
        };
        traffic.refresh_traffic_keys().unwrap();
        let sent = write(&mut client, b"with a new key");
        assert_eq!(read(&mut server, &sent).unwrap(), b"with a new key");
        let back = write(&mut server, b"answered");
        assert_eq!(read(&mut client, &back).unwrap(), b"answered");
    }
    let (client, mut server) = ends();
    let mut forger = Forger::new(client);
    let both = forger.record(22, &[[24, 0, 0, 1, 1], [24, 0, 0, 1, 1]].concat());
    // Two at once: a key must not change in the middle of a record.
    assert!(read(&mut server, &both).is_err());
}
