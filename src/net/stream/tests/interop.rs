//! Our records against those of rustls itself: its buffered connection is the other end.

use std::io::{Read, Write};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;

/// Our end, and rustls's.
struct Pair {
    ours: TlsStream,
    other: Connection,
}

const SUITES: [SupportedCipherSuite; 3] = [
    provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
    provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
    provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

impl Pair {
    /// Makes the handshake. A server that is rustls sends tickets right behind it.
    fn new(suite: SupportedCipherSuite, is_client: bool) -> Self {
        let (client, server) = configs(suite);
        let mut sends_tickets = (*server).clone();
        sends_tickets.send_tls13_tickets = 2;
        let (mut tls, mut other): (_, Connection) = match is_client {
            true => {
                (client_of(&client), ServerConnection::new(Arc::new(sends_tickets)).unwrap().into())
            }
            false => (
                server_of(&server),
                ClientConnection::new(client, ServerName::try_from("anybody").unwrap())
                    .unwrap()
                    .into(),
            ),
        };
        let mut input = Input::default();
        while tls.is_handshaking() || other.is_handshaking() {
            let mut output = Output::default();
            tls.advance(&mut input, &mut output).unwrap();
            give(&mut other, output.waiting());
            receive(&mut input, &said(&mut other));
        }
        Self { ours: tls.into_stream(input).unwrap(), other }
    }

    fn all() -> impl Iterator<Item = Self> {
        SUITES
            .into_iter()
            .flat_map(|suite| [true, false].map(|is_client| Self::new(suite, is_client)))
    }

    fn other_hears(&mut self, message: &[u8]) {
        let got = give(&mut self.other, &write(&self.ours, message));
        assert!(got == message, "{} bytes came out as others", message.len());
    }

    fn we_hear(&mut self, message: &[u8], room: usize) {
        self.other.writer().write_all(message).unwrap();
        let sent = said(&mut self.other);
        let got: Vec<u8> = sent
            .chunks(5_000)
            .flat_map(|bytes| read_by(&self.ours, bytes, room).unwrap())
            .collect();
        assert!(got == message, "{} bytes came out as others", message.len());
    }
}

fn give(other: &mut Connection, mut bytes: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    while !bytes.is_empty() {
        other.read_tls(&mut bytes).unwrap();
        let there = got.len();
        got.resize(there + other.process_new_packets().unwrap().plaintext_bytes_to_read(), 0);
        other.reader().read_exact(&mut got[there..]).unwrap();
    }
    got
}

fn said(other: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while other.wants_write() {
        other.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn message(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

#[test]
fn data_goes_both_ways() {
    for mut pair in Pair::all() {
        for len in [1, 100, 16_383, 16_384, 16_385, 50_000] {
            pair.other_hears(&message(len));
            for room in [10, 1_000, 16_384, 100_000] {
                pair.we_hear(&message(len), room);
            }
        }
    }
}

#[test]
fn rustls_changes_its_key_and_is_answered_once() {
    for mut pair in Pair::all() {
        for round in 0..3 {
            // Our end says nothing between the first two, and answers both with one.
            for _ in 0..=usize::from(round == 1) {
                pair.other.refresh_traffic_keys().unwrap();
                pair.we_hear(b"with a new key", 100);
            }
            let sent = write(&pair.ours, b"answered");
            assert_eq!(sent.len(), (5 + 5 + 17) + (5 + 8 + 17), "a new key goes first");
            assert_eq!(give(&mut pair.other, &sent), b"answered");
            pair.other_hears(&message(20_000));
            pair.we_hear(&message(20_000), 1_000);
        }
    }
}

#[test]
fn a_key_is_changed_before_it_has_encrypted_too_much() {
    for mut pair in Pair::all() {
        pair.ours.sending().records_max = 4;
        for len in [1, 16_384, 200_000, 1, 1, 1, 1, 100_000] {
            let before = pair.ours.sending().key_number();
            pair.other_hears(&message(len));
            let sending = pair.ours.sending();
            assert!(
                sending.key_number() < 4,
                "{} records with one key, {before} before",
                sending.key_number()
            );
        }
        pair.other.refresh_traffic_keys().unwrap();
        pair.we_hear(b"and theirs", 100);
        pair.other_hears(&message(100_000));
    }
}

#[test]
fn each_end_hears_why_the_other_ends() {
    for mut pair in Pair::all() {
        pair.other.send_close_notify();
        assert_eq!(read(&pair.ours, &said(&mut pair.other)).unwrap(), b"");
        assert!(matches!(pair.ours.read(None, &mut [0; 10]).unwrap(), Received::Closed));
        let mut sending = pair.ours.sending();
        pair.ours.say_farewell(&mut sending);
        pair.other.read_tls(&mut &take(&mut sending)[..]).unwrap();
        assert!(pair.other.process_new_packets().unwrap().peer_has_closed());
    }
    for mut pair in Pair::all() {
        pair.other.writer().write_all(b"data").unwrap();
        let mut sent = said(&mut pair.other);
        *sent.last_mut().unwrap() ^= 1;
        assert_eq!(why(read(&pair.ours, &sent)), Error::DecryptError);
        let mut sending = pair.ours.sending();
        pair.ours.say_farewell(&mut sending);
        pair.other.read_tls(&mut &take(&mut sending)[..]).unwrap();
        let heard = pair.other.process_new_packets().unwrap_err();
        assert_eq!(heard, Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}
