//! Two endpoints in memory. One of them also encrypts records by hand that no honest end sends.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::sign::SingleCertAndKey;
use rustls::{
    AlertDescription, ClientConfig, ConnectionTrafficSecrets, DigitallySignedStruct,
    PeerMisbehaved, ServerConfig, SignatureScheme, SupportedCipherSuite, Tls13CipherSuite, version,
};

use super::*;
use crate::trust::{Identity, KeyPair};

/// Accepts every certificate: these tests are about what comes behind the handshake.
#[derive(Debug)]
struct AcceptAll;

impl ServerCertVerifier for AcceptAll {
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

/// The configurations of a client and a server that know only this cipher suite.
fn configs(suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
    configs_of(&Arc::new(provider.clone()), &Arc::new(provider))
}

fn configs_of(
    client: &Arc<CryptoProvider>,
    server: &Arc<CryptoProvider>,
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let builder = ClientConfig::builder_with_provider(client.clone())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap();
    let mut client = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll))
        .with_no_client_auth();
    // For the forger.
    client.enable_secret_extraction = true;
    let identity = Identity::of_device(&KeyPair::generate().unwrap()).unwrap();
    let builder = ServerConfig::builder_with_provider(server.clone())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap();
    let mut server = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

fn client_of(config: &Arc<ClientConfig>) -> Endpoint {
    let name = ServerName::try_from("anybody").unwrap();
    Endpoint::Client(Box::new(UnbufferedClientConnection::new(config.clone(), name).unwrap()))
}

fn server_of(config: &Arc<ServerConfig>) -> Endpoint {
    Endpoint::Server(Box::new(UnbufferedServerConnection::new(config.clone()).unwrap()))
}

/// A client and a server whose handshake is over.
fn handshakes() -> [(Endpoint, ReceiveBuffer); 2] {
    handshakes_of(configs(provider::cipher_suite::TLS13_AES_128_GCM_SHA256))
}

fn handshakes_of(
    (client, server): (Arc<ClientConfig>, Arc<ServerConfig>),
) -> [(Endpoint, ReceiveBuffer); 2] {
    let mut ends =
        [(client_of(&client), ReceiveBuffer::default()), (server_of(&server), Default::default())];
    while ends.iter().any(|(tls, _)| tls.is_handshaking()) {
        for at in 0..2 {
            let (mut output, (tls, input)) = (SendBuffer::default(), &mut ends[at]);
            tls.advance(input, &mut output).unwrap();
            receive(&mut ends[1 - at].1, output.waiting());
        }
    }
    ends
}

fn ends() -> (TlsStream, TlsStream) {
    streams(handshakes())
}

fn streams([client, server]: [(Endpoint, ReceiveBuffer); 2]) -> (TlsStream, TlsStream) {
    (TlsStream::new(client.0, client.1), TlsStream::new(server.0, server.1))
}

fn receive(input: &mut ReceiveBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        input.receive_from(&mut bytes);
    }
}

/// Has the stream receive `bytes` without reading.
fn arrive(stream: &TlsStream, bytes: &[u8]) {
    let mut input = stream.lend();
    receive(&mut input, bytes);
    stream.give_back(input);
}

/// Has the stream receive `bytes`, and reads until it needs more or has ended.
fn read(stream: &TlsStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    read_by(stream, bytes, 1000)
}

fn read_by(stream: &TlsStream, mut bytes: &[u8], len: usize) -> io::Result<Vec<u8>> {
    let (mut got, mut buffer, mut lent) = (Vec::new(), vec![0; len], None);
    loop {
        match stream.read(lent.take(), &mut buffer)? {
            Received::Bytes(len) => got.extend_from_slice(&buffer[..len]),
            Received::Closed => return Ok(got),
            Received::More(mut input) if bytes.is_empty() => {
                input.shrink();
                stream.give_back(input);
                return Ok(got);
            }
            Received::More(mut input) => {
                input.receive_from(&mut bytes);
                lent = Some(input);
            }
        }
    }
}

fn write(stream: &TlsStream, message: &[u8]) -> Vec<u8> {
    try_write(stream, message).unwrap()
}

fn try_write(stream: &TlsStream, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut sending = stream.try_lock_sending().unwrap();
    stream.write(message, &mut sending)?;
    Ok(take(&mut sending))
}

fn close(stream: &TlsStream) -> Vec<u8> {
    let mut sending = stream.try_lock_sending().unwrap();
    stream.close(&mut sending);
    take(&mut sending)
}

fn update_key(stream: &TlsStream) -> Vec<u8> {
    let mut sending = stream.try_lock_sending().unwrap();
    stream.update_key(&mut sending);
    take(&mut sending)
}

fn take(sending: &mut Sending) -> Vec<u8> {
    let sent = sending.output.waiting().to_vec();
    sending.output.sent(sent.len());
    sent
}

/// The error that rustls has reported.
fn why(result: io::Result<Vec<u8>>) -> Error {
    let error = result.expect_err("it was not refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.into_inner().unwrap().downcast_ref::<Error>().unwrap().clone()
}

/// An endpoint that encrypts records of any kind.
struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    fn new(tls: Endpoint) -> Self {
        let secrets = match tls {
            Endpoint::Client(tls) => {
                let inner = *tls;
                inner.dangerous_into_kernel_connection().unwrap().0
            }
            Endpoint::Server(tls) => {
                let inner = *tls;
                inner.dangerous_into_kernel_connection().unwrap().0
            }
        };
        let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("another cipher")
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    /// A forger in the client's place, and the server.
    fn and_server() -> (Self, TlsStream) {
        let [(client, _), (server, input)] = handshakes();
        (Self::new(client), TlsStream::new(server, input))
    }

    /// A forger in the server's place, and the client.
    fn and_client() -> (Self, TlsStream) {
        let [(client, input), (server, _)] = handshakes();
        (Self::new(server), TlsStream::new(client, input))
    }

    /// A record whose content is of that type: 21 an alert, 22 a handshake message, 23 data.
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut body = [content, &[kind]].concat();
        let len = (body.len() + AES_128_GCM.tag_len()) as u16;
        let header = [&[23, 3, 3][..], &len.to_be_bytes()].concat();
        let mut nonce = self.iv;
        nonce[4..]
            .iter_mut()
            .zip(self.sequence.to_be_bytes())
            .for_each(|(byte, count)| *byte ^= count);
        self.sequence += 1;
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&header),
                &mut body,
            )
            .unwrap();
        [header, body].concat()
    }
}

#[test]
fn data_arrives_however_it_is_cut() {
    let (client, server) = ends();
    let message: Vec<u8> = (0..100_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    for cut in [1, 7, 1_000, 16_384, 100_000] {
        let rooms =
            if cut < 1_000 { &[1_000][..] } else { &[1, 1_000, 16_384, 16_385, 40_000, 200_000] };
        for &room in rooms {
            let sent = write(&client, &message);
            let got: Vec<u8> =
                sent.chunks(cut).flat_map(|bytes| read_by(&server, bytes, room).unwrap()).collect();
            assert!(got == message, "cut every {cut} bytes, read by {room}");
            // Between two reads, with half a record there, the other direction works.
            let back = write(&server, b"back");
            assert_eq!(read(&client, &back).unwrap(), b"back");
        }
    }
    let sent = write(&client, &message);
    assert_eq!(read(&server, &sent[..20_000]).unwrap().len(), 16_384);
    let back = write(&server, b"in between");
    assert_eq!(read(&client, &back).unwrap(), b"in between");
    assert!(!server.has_input(), "half a record is nothing to read");
    assert_eq!(read(&server, &sent[20_000..]).unwrap(), message[16_384..]);
}

#[test]
fn an_altered_byte_is_the_end() {
    let message = vec![7; 40_000];
    for room in [1_000, 100_000] {
        for place in (0..8).chain([100, 16_404, 16_405, 16_407, 16_409, 16_500, 40_050]) {
            let (client, server) = ends();
            let mut sent = write(&client, &message);
            sent[place] ^= 1;
            match read_by(&server, &sent, room) {
                Err(e) => {
                    assert_eq!(e.kind(), io::ErrorKind::InvalidData, "byte {place}");
                    assert!(read(&server, b"").is_err(), "it goes on after byte {place}");
                    assert!(try_write(&server, b"x").is_err(), "it answers after byte {place}");
                }
                Ok(got) => panic!("byte {place} was altered, and {} bytes were read", got.len()),
            }
        }
    }
    let (client, server) = ends();
    let sent = write(&client, b"once");
    read(&server, &sent).unwrap();
    assert_eq!(why(read(&server, &sent)), Error::DecryptError, "replayed");
    let (client, server) = ends();
    write(&client, b"left out");
    let sent = write(&client, b"what follows");
    assert_eq!(why(read(&server, &sent)), Error::DecryptError, "left out");
}

/// rustls would keep half a message in the receive buffer, and a writer that goes on meanwhile
/// would have none to show it.
#[test]
fn half_a_message_of_tls_itself_is_refused_and_panics_nowhere() {
    let half_ticket: &[u8] = &[4, 0, 1, 0, 9, 9, 9];
    for (what, parts) in [
        ("a key update", &[&[24, 0][..], &[0, 1, 0]][..]),
        ("a ticket", &[half_ticket]),
        ("half a header", &[&[4]]),
    ] {
        for in_client_place in [false, true] {
            let (mut forger, stream) = match in_client_place {
                true => Forger::and_server(),
                false => Forger::and_client(),
            };
            let data = forger.record(23, b"data");
            assert_eq!(read(&stream, &data).unwrap(), b"data");
            let mut refused = false;
            for part in parts {
                let record = forger.record(22, part);
                refused |= read(&stream, &record).is_err();
                assert!(refused || try_write(&stream, b"x").is_ok());
            }
            assert!(refused, "{what}");
            assert!(try_write(&stream, b"x").is_err());
            close(&stream);
        }
    }
    let (mut forger, client) = Forger::and_client();
    let ticket = [&[4, 0, 0, 18][..], &[0; 8], &[1, 7, 0, 3, 1, 2, 3, 0, 0, 0]].concat();
    let with_half = forger.record(22, &[&ticket[..], half_ticket].concat());
    assert!(read(&client, &with_half).is_err());
    assert!(try_write(&client, b"x").is_err());
}

#[test]
fn a_key_update_is_answered_before_the_next_data_and_not_without_end() {
    let (client, server) = ends();
    for round in 0..3 {
        // The server says nothing between the first two, and answers both with one.
        for _ in 0..=usize::from(round == 1) {
            let sent = [update_key(&client), write(&client, b"with a new key")].concat();
            assert_eq!(read(&server, &sent).unwrap(), b"with a new key");
        }
        let sent = write(&server, b"answered");
        assert_eq!(sent.len(), (5 + 5 + 17) + (5 + 8 + 17), "the key update goes first");
        assert_eq!(read(&client, &sent).unwrap(), b"answered");
    }
    for refused in (0..40).map(|number| number >= 32) {
        assert_eq!(read(&server, &update_key(&client)).is_err(), refused);
        if refused {
            return;
        }
    }
}

/// rustls updates a key before it has encrypted as many records as its cipher allows. The records
/// of a large write span several keys then.
#[test]
fn a_key_is_updated_before_its_limit() {
    let suite = provider::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let mut common = rustls::crypto::CipherSuiteCommon { ..suite.common };
    common.confidentiality_limit = 20;
    let suite: &'static Tls13CipherSuite =
        Box::leak(Box::new(Tls13CipherSuite { common, ..*suite }));
    let (client, server) = streams(handshakes_of(configs(SupportedCipherSuite::Tls13(suite))));
    let mut sent_len = 0;
    for len in [1, 16_384, 200_000, 1, 1, 1, 1, 130_000].repeat(10) {
        let message = vec![7; len];
        let sent = write(&client, &message);
        sent_len += sent.len() - len - len.div_ceil(16_384) * 22;
        assert!(read_by(&server, &sent, 20_000).unwrap() == message);
        assert_eq!(read(&client, &write(&server, b"back")).unwrap(), b"back");
    }
    assert!(sent_len >= 10 * 27, "{sent_len} bytes of key updates");
}

#[test]
fn records_that_may_not_come_now_are_refused() {
    // In clear, of any type; and the `change_cipher_spec` that a handshake may hold.
    for record in [
        &[21, 3, 3, 0, 2, 1, 0][..],
        &[22, 3, 3, 0, 5, 24, 0, 0, 1, 0],
        &[20, 3, 3, 0, 1, 1],
        &[23, 3, 1, 0, 30],
        &[23, 3, 3, 0x41, 1],
    ] {
        let (_, server) = Forger::and_server();
        assert!(read(&server, record).is_err(), "{record:?}");
    }
    // Encrypted: no such type, an empty message, a hello, a ticket for the server, half an alert
    // and two in one record.
    for (kind, content) in [
        (20, &[1][..]),
        (24, &[1]),
        (22, &[]),
        (22, &[1, 0, 0, 0]),
        (22, &[4, 0, 0, 1, 9]),
        (22, &[24, 0, 0, 1, 2]),
        (21, &[1]),
        (21, &[1, 90, 1, 0]),
        (23, &[5; 16_385]),
    ] {
        let (mut forger, server) = Forger::and_server();
        let record = forger.record(kind, content);
        assert!(read(&server, &record).is_err(), "{kind} {content:?}");
        assert!(try_write(&server, b"x").is_err());
    }
}

#[test]
fn an_alert_is_an_error_and_close_notify_an_end() {
    let (mut forger, server) = Forger::and_server();
    let alert = forger.record(21, &[2, 42]);
    assert_eq!(why(read(&server, &alert)), Error::AlertReceived(AlertDescription::BadCertificate));
    let (mut forger, server) = Forger::and_server();
    let end = [forger.record(21, &[1, 90]), forger.record(23, b"last"), forger.record(21, &[1, 0])];
    let behind = forger.record(23, b"more");
    assert_eq!(read(&server, &[end.concat(), behind].concat()).unwrap(), b"last");
    assert!(server.has_input() && matches!(server.read(None, &mut [0]).unwrap(), Received::Closed));
    assert!(try_write(&server, b"the other direction has not ended").is_ok());
    assert!(!close(&server).is_empty());
}

#[test]
fn each_end_hears_why_the_other_ends() {
    let (client, server) = ends();
    let mut sent = write(&client, b"data");
    *sent.last_mut().unwrap() ^= 1;
    assert_eq!(why(read(&server, &sent)), Error::DecryptError);
    let alert = close(&server);
    assert_eq!(why(read(&client, &alert)), Error::AlertReceived(AlertDescription::BadRecordMac));
    // A writer that goes first sends the alert in place of its data.
    let (client, server) = ends();
    let mut sent = write(&client, b"data");
    *sent.last_mut().unwrap() ^= 1;
    assert!(read(&server, &sent).is_err());
    let mut sending = server.try_lock_sending().unwrap();
    assert!(server.write(b"x", &mut sending).is_err());
    assert_eq!(
        why(read(&client, &take(&mut sending))),
        Error::AlertReceived(AlertDescription::BadRecordMac)
    );
}

#[test]
fn nothing_follows_close_notify() {
    let (client, server) = ends();
    let behind = write(&server, b"too late");
    let sent = close(&client);
    assert_eq!(sent.len(), 5 + 2 + 1 + 16);
    assert!(close(&client).is_empty() && try_write(&client, b"more").is_err());
    assert_eq!(read(&server, &sent).unwrap(), b"");
    assert!(server.has_input(), "the end can be read");
    // rustls takes a second reason to end, behind its own `close_notify`, for a fault of its own.
    let mut altered = behind;
    altered[10] ^= 1;
    assert_eq!(read(&client, &altered).unwrap(), b"");
}

/// The client has to begin anew when it guessed wrong which key exchange the server takes.
#[test]
fn a_client_that_is_asked_for_another_hello_gets_through() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
    let of = |kx_groups| Arc::new(CryptoProvider { kx_groups, ..provider::default_provider() });
    let ends = handshakes_of(configs_of(&of(vec![X25519, SECP256R1]), &of(vec![SECP256R1])));
    assert!(ends.iter().all(|(tls, _)| {
        tls.handshake_kind() == Some(rustls::HandshakeKind::FullWithHelloRetryRequest)
    }));
    let (client, server) = streams(ends);
    assert_eq!(read(&server, &write(&client, b"data")).unwrap(), b"data");
}

#[test]
fn records_without_data_are_no_input_and_not_without_end() {
    let (mut forger, client) = Forger::and_client();
    for round in 0..3 {
        for _ in 0..32 {
            arrive(&client, &forger.record(23, &[]));
            assert!(!client.has_input());
        }
        if round < 2 {
            assert_eq!(read(&client, &forger.record(23, b"data")).unwrap(), b"data");
        }
    }
    let record = forger.record(23, &[]);
    assert_eq!(why(read(&client, &record)), PeerMisbehaved::TooManyEmptyFragments.into());
}

#[test]
fn data_in_front_of_a_bad_record_is_read_and_the_bad_one_is_the_end() {
    let (client, server) = ends();
    let mut sent = [write(&client, b"good"), write(&client, b"bad")].concat();
    *sent.last_mut().unwrap() ^= 1;
    arrive(&server, &sent);
    let mut buffer = [0; 100];
    assert!(matches!(server.read(None, &mut buffer).unwrap(), Received::Bytes(4)));
    assert_eq!(&buffer[..4], b"good");
    for _ in 0..2 {
        assert!(server.has_input(), "there is an error to read");
        assert_eq!(server.read(None, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    assert!(try_write(&server, b"x").is_err());
}

#[test]
fn a_password_does_not_stay_in_the_buffers() {
    let (client, server) = ends();
    arrive(&server, &write(&client, b"a password"));
    assert!(matches!(server.read(None, &mut [0; 4]).unwrap(), Received::Bytes(4)));
    assert!(matches!(server.read(None, &mut [0; 6]).unwrap(), Received::Bytes(6)));
    let there = format!("{:?}", server.lend());
    let plain: Vec<String> = b"word".iter().map(u8::to_string).collect();
    assert!(!there.contains(&plain.join(", ")), "{there}");
}

/// A link that was busy once does not keep its room for ever.
#[test]
fn room_is_given_back_when_little_comes() {
    let mut input = ReceiveBuffer::default();
    for _ in 0..10 {
        let len = input.room().len();
        input.received(len);
        input.discard(len);
    }
    let busy = input.room().len();
    for _ in 0..200 {
        input.room();
        input.received(100);
        input.discard(100);
    }
    assert!(busy > 100_000 && input.room().len() < 10_000, "{busy}, then {}", input.room().len());
}

/// Thousands of clients are idle at a tracker. The memory of aws-lc is not counted here.
#[test]
fn an_idle_connection_keeps_little_memory() {
    let configs = configs(provider::cipher_suite::TLS13_AES_128_GCM_SHA256);
    let mut kept = Vec::new();
    let used = allocation_counter::measure(|| {
        for _ in 0..10 {
            let (client, server) = streams(handshakes_of(configs.clone()));
            for (from, to) in [(&client, &server), (&server, &client)] {
                assert_eq!(
                    read_by(to, &write(from, &[7; 100_000]), 50_000).unwrap().len(),
                    100_000
                );
                from.try_lock_sending().unwrap().output.shrink(0);
                assert!(!to.has_input());
            }
            kept.push((client, server));
        }
    });
    let each = used.bytes_current / 20;
    println!("{each} bytes each");
    assert!(each < 5_000, "{each} bytes each");
}
