//! Two ends in memory. One of them also encrypts by hand what nobody honest would send.

mod interop;

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, DigitallySignedStruct, InvalidMessage, PeerMisbehaved,
    ServerConfig, SignatureScheme, SupportedCipherSuite, version,
};

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

/// What a client and a server speak TLS with that know only this cipher.
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
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
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

fn client_of(config: &Arc<ClientConfig>) -> Handshake {
    let name = ServerName::try_from("anybody").unwrap();
    Handshake::Client(Box::new(UnbufferedClientConnection::new(config.clone(), name).unwrap()))
}

fn server_of(config: &Arc<ServerConfig>) -> Handshake {
    Handshake::Server(Box::new(UnbufferedServerConnection::new(config.clone()).unwrap()))
}

/// A client and a server between which the handshake is over.
fn handshakes() -> [(Handshake, Input); 2] {
    handshakes_of(configs(provider::cipher_suite::TLS13_AES_128_GCM_SHA256))
}

fn handshakes_of(
    (client, server): (Arc<ClientConfig>, Arc<ServerConfig>),
) -> [(Handshake, Input); 2] {
    let mut ends = [(client_of(&client), Input::default()), (server_of(&server), Input::default())];
    while ends.iter().any(|(tls, _)| tls.is_handshaking()) {
        for at in 0..2 {
            let (mut output, (tls, input)) = (Output::default(), &mut ends[at]);
            tls.advance(input, &mut output).unwrap();
            receive(&mut ends[1 - at].1, output.waiting());
        }
    }
    ends
}

fn ends() -> (TlsStream, TlsStream) {
    let [client, server] = handshakes().map(|(tls, input)| tls.into_stream(input).unwrap());
    (client, server)
}

fn receive(input: &mut Input, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        input.receive_from(&mut bytes);
    }
}

/// Has the stream receive `bytes`, and reads until it wants more or has ended.
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
                stream.put_back(input);
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
    let mut sending = stream.sending();
    stream.write(message, &mut sending)?;
    Ok(take(&mut sending))
}

fn take(sending: &mut Sending) -> Vec<u8> {
    let sent = sending.output.waiting().to_vec();
    sending.output.sent(sent.len());
    sent
}

/// What rustls says was wrong.
fn why(result: io::Result<Vec<u8>>) -> Error {
    let error = result.expect_err("it was not refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.into_inner().unwrap().downcast_ref::<Error>().unwrap().clone()
}

/// An end from which records of any kind come.
struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    fn new(tls: Handshake) -> Self {
        let secrets = match tls {
            Handshake::Client(tls) => {
                let inner = *tls;
                inner.dangerous_into_kernel_connection().unwrap().0
            }
            Handshake::Server(tls) => {
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
        (Self::new(client), server.into_stream(input).unwrap())
    }

    /// A forger in the server's place, and the client.
    fn and_client() -> (Self, TlsStream) {
        let [(client, input), (server, _)] = handshakes();
        (Self::new(server), client.into_stream(input).unwrap())
    }

    /// A record whose content is of that kind: 22 a part of the handshake, 23 data.
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.inner(&[content, &[kind]].concat())
    }

    /// A record of that content, type and padding.
    fn inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut body = inner.to_vec();
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

/// Half a message of TLS itself would have to be kept; nobody honest sends one.
#[test]
fn half_a_message_of_tls_itself_is_refused_and_panics_nowhere() {
    for (what, parts) in [
        ("a new key", &[&[24, 0][..], &[0, 1, 0]][..]),
        ("a ticket", &[&[4, 0, 1, 0, 9, 9, 9][..]]),
    ] {
        let (mut forger, server) = Forger::and_server();
        let data = forger.record(23, b"data");
        assert_eq!(read(&server, &data).unwrap(), b"data");
        let mut refused = false;
        for part in parts {
            let record = forger.record(22, part);
            refused |= read(&server, &record).is_err();
            assert!(refused || try_write(&server, b"x").is_ok());
        }
        assert!(refused, "{what}");
        assert!(try_write(&server, b"x").is_err());
    }
}

#[test]
fn a_key_changes_between_records_and_not_too_often() {
    let (mut forger, server) = Forger::and_server();
    let both = forger.record(22, &[[24, 0, 0, 1, 1], [24, 0, 0, 1, 1]].concat());
    assert_eq!(
        why(read(&server, &both)),
        PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into()
    );
    let (mut forger, server) = Forger::and_server();
    let unknown = forger.record(22, &[24, 0, 0, 1, 2]);
    assert_eq!(why(read(&server, &unknown)), InvalidMessage::InvalidKeyUpdate.into());
    let (client, server) = ends();
    for refused in (0..40).map(|number| number >= 32) {
        let mut sending = client.sending();
        client.change_key(&mut sending);
        assert_eq!(read(&server, &take(&mut sending)).is_err(), refused);
    }
}

#[test]
fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
    let (mut forger, server) = Forger::and_server();
    for room in [4, 1_000] {
        let padded = forger.inner(&[&b"data\0\0"[..], &[23], &[0; 500]].concat());
        assert_eq!(read_by(&server, &padded, room).unwrap(), b"data\0\0");
        let empty = forger.inner(&[23, 0, 0]);
        assert_eq!(read_by(&server, &empty, room).unwrap(), b"");
    }
    let full = forger.record(23, &[5; 16_384]);
    assert_eq!(read(&server, &full).unwrap(), [5; 16_384]);
    let too_long = forger.record(23, &[5; 16_385]);
    assert_eq!(why(read(&server, &too_long)), Error::PeerSentOversizedRecord);
    for inner in [&[][..], &[0], &[0; 100]] {
        let (mut forger, server) = Forger::and_server();
        let nothing = forger.inner(inner);
        assert_eq!(why(read(&server, &nothing)), PeerMisbehaved::IllegalTlsInnerPlaintext.into());
    }
    let (_, server) = Forger::and_server();
    // A length that no record has is refused before any of it has come.
    assert_eq!(why(read(&server, &[23, 3, 3, 0x41, 1])), Error::PeerSentOversizedRecord);
}

#[test]
fn what_is_neither_data_nor_due_is_refused() {
    // In clear, whatever it is; and the `change_cipher_spec` that a handshake may hold.
    for record in [
        &[21, 3, 3, 0, 2, 1, 0][..],
        &[20, 3, 3, 0, 1, 1],
        &[22, 3, 3, 0, 5, 24, 0, 0, 1, 0],
        &[23, 3, 1, 0, 30],
    ] {
        let (_, server) = Forger::and_server();
        assert_eq!(why(read(&server, record)), InvalidMessage::InvalidContentType.into());
    }
    // Encrypted: no such type, an empty message, a hello, a ticket for the server, half an alert
    // and two in one record.
    let two = [1, 90, 1, 0];
    for (kind, content) in [
        (20, &[1][..]),
        (24, &[1]),
        (22, &[]),
        (22, &[1, 0, 0, 0]),
        (22, &[4, 0, 0, 1, 9]),
        (21, &[1]),
        (21, &two),
    ] {
        let (mut forger, server) = Forger::and_server();
        let record = forger.record(kind, content);
        assert!(read(&server, &record).is_err(), "{kind} {content:?}");
    }
    let (mut forger, client) = Forger::and_client();
    let ticket = [forger.record(22, &[4, 0, 0, 1, 9]), forger.record(23, b"data")].concat();
    assert_eq!(read(&client, &ticket).unwrap(), b"data", "a client may be sent tickets");
}

#[test]
fn alerts_end_it_and_a_farewell_is_an_end() {
    for level in [1, 2] {
        let (mut forger, server) = Forger::and_server();
        let refused = forger.record(21, &[level, 42]);
        assert_eq!(
            why(read(&server, &refused)),
            Error::AlertReceived(AlertDescription::BadCertificate)
        );
    }
    let (mut forger, server) = Forger::and_server();
    let farewell =
        [forger.record(21, &[1, 90]), forger.record(23, b"last"), forger.record(21, &[1, 0])]
            .concat();
    let behind = forger.record(23, b"more");
    assert_eq!(read(&server, &[farewell, behind].concat()).unwrap(), b"last");
    assert!(server.has_input() && matches!(server.read(None, &mut [0]).unwrap(), Received::Closed));
    assert!(try_write(&server, b"the other direction has not ended").is_ok());
}

/// Numbers of records that are used up end the key, not begin anew.
#[test]
fn numbers_never_wrap() {
    let secrets = |number| {
        let (key, iv) = ([7; 32].into(), Default::default());
        (number, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
    };
    let mut output = Output::default();
    let [mut sends, mut receives] = [(); 2].map(|()| Key::new(secrets(u64::MAX - 1)).unwrap());
    sends.seal(23, b"last", &mut output).unwrap();
    assert!(
        sends.seal(23, b"more", &mut output).is_err()
            && sends.seal(23, b"more", &mut output).is_err()
    );
    let (header, body) = output.waiting().split_first_chunk().unwrap();
    let (mut body, mut room) = (body.to_vec(), [0; 100]);
    assert_eq!(receives.open(header, &mut body.clone(), &mut room).unwrap(), (23, 4, true));
    assert!(receives.open(header, &mut body, &mut room).is_err());
}

#[test]
fn nothing_follows_the_last_word() {
    let (client, server) = ends();
    let mut sending = client.sending();
    client.say_farewell(&mut sending);
    client.say_farewell(&mut sending);
    assert!(client.write(b"more", &mut sending).is_err());
    let sent = take(&mut sending);
    assert_eq!(sent.len(), 5 + 2 + 1 + 16);
    assert_eq!(read(&server, &sent).unwrap(), b"");
    assert!(server.has_input(), "the end can be read");
}

/// The client has to begin anew when it guessed wrong what the server agrees on keys with.
#[test]
fn a_client_that_is_asked_for_another_hello_gets_through() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
    let of = |kx_groups| Arc::new(CryptoProvider { kx_groups, ..provider::default_provider() });
    let [client, server] =
        handshakes_of(configs_of(&of(vec![X25519, SECP256R1]), &of(vec![SECP256R1])));
    let asked = |tls: &Handshake| {
        tls.handshake_kind() == Some(rustls::HandshakeKind::FullWithHelloRetryRequest)
    };
    assert!(asked(&client.0) && asked(&server.0));
    let [client, server] = [client, server].map(|(tls, input)| tls.into_stream(input).unwrap());
    assert_eq!(read(&server, &write(&client, b"data")).unwrap(), b"data");
}

#[test]
fn records_without_data_are_heeded_while_idle_and_not_without_end() {
    let empty: [(u8, &[u8]); 3] = [(23, &[]), (21, &[1, 90]), (22, &[4, 0, 0, 1, 9])];
    for (kind, content) in empty {
        let (mut forger, client) = Forger::and_client();
        for round in 0..3 {
            for _ in 0..32 {
                let record = forger.record(kind, content);
                let mut input = client.lend();
                receive(&mut input, &record);
                client.put_back(input);
                assert!(!client.has_input(), "{kind} is nothing to read");
            }
            if round < 2 {
                let data = forger.record(23, b"data");
                assert_eq!(read(&client, &data).unwrap(), b"data");
            }
        }
        let record = forger.record(kind, content);
        assert_eq!(
            why(read(&client, &record)),
            PeerMisbehaved::TooManyEmptyFragments.into(),
            "{kind}"
        );
    }
}

#[test]
fn what_came_before_a_bad_record_is_read_and_the_bad_one_is_the_end() {
    let (client, server) = ends();
    let mut sent = [write(&client, b"good"), write(&client, b"bad")].concat();
    *sent.last_mut().unwrap() ^= 1;
    let mut input = server.lend();
    receive(&mut input, &sent);
    let mut buffer = [0; 100];
    assert!(matches!(server.read(Some(input), &mut buffer).unwrap(), Received::Bytes(4)));
    assert_eq!(&buffer[..4], b"good");
    assert!(server.has_input(), "there is an error to read");
    assert_eq!(server.read(None, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(
        server.has_input()
            && server.read(None, &mut buffer).is_err()
            && try_write(&server, b"x").is_err()
    );
}

#[test]
fn data_that_was_decrypted_in_place_does_not_stay() {
    let (client, server) = ends();
    let mut input = server.lend();
    receive(&mut input, &write(&client, b"a password"));
    let mut buffer = [0; 4];
    assert!(matches!(server.read(Some(input), &mut buffer).unwrap(), Received::Bytes(4)));
    assert!(matches!(server.read(None, &mut [0; 6]).unwrap(), Received::Bytes(6)));
    let input = server.lend();
    let there = format!("{input:?}");
    let plain: Vec<String> = b"word".iter().map(u8::to_string).collect();
    assert!(!there.contains(&plain.join(", ")), "{there}");
}

/// A link that was busy once does not keep its room for ever.
#[test]
fn room_is_given_back_when_little_comes() {
    let (client, server) = ends();
    assert_eq!(
        read_by(&server, &write(&client, &vec![1; 1 << 20]), 1 << 20).unwrap().len(),
        1 << 20
    );
    let mut input = Input::default();
    for _ in 0..10 {
        let len = input.room().len();
        input.received(len);
        input.done(len);
    }
    let busy = input.room().len();
    for _ in 0..200 {
        input.room();
        input.received(100);
        input.done(100);
    }
    assert!(busy > 100_000 && input.room().len() < 10_000, "{busy}, then {}", input.room().len());
}

#[test]
fn each_mistake_has_its_alert() {
    for (kind, content, alert) in [
        (21, &[1][..], AlertDescription::DecodeError),
        (21, &[1, 90, 1], AlertDescription::DecodeError),
        (21, &[], AlertDescription::UnexpectedMessage),
        (22, &[], AlertDescription::UnexpectedMessage),
        (24, &[1], AlertDescription::UnexpectedMessage),
        (22, &[24, 0, 0, 1, 2], AlertDescription::IllegalParameter),
    ] {
        let (mut forger, server) = Forger::and_server();
        let record = forger.record(kind, content);
        assert!(read(&server, &record).is_err());
        assert_eq!(
            AlertDescription::from(server.control.reason.load(Ordering::Relaxed)),
            alert,
            "{kind} {content:?}"
        );
    }
}
