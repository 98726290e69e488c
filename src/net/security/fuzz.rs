//! The fuzz target of records: two endpoints whose handshake is over, and an attacker on the wire
//! between them.
//!
//! **Invariant:** an endpoint reads the bytes that the other has written, up to the first record
//! that was altered, lost or made up. There the connection ends, in both directions.

use std::io;

use super::verify::Expected;
use super::*;
use crate::fuzzing;
use crate::net::stream::{Progress, ReceiveBuffer, Received, SendBuffer, Sending, TlsStream};

/// Things that happen in one run.
const STEPS_MAX: usize = 32;

/// Runs one fuzzer's input.
pub(crate) fn tls_records(key: &KeyPair, bytes: &[u8]) {
    let mut choices = fuzzing::Input::new(bytes);
    let [writer, reader] = ends(key);
    let (mut wire, mut written, mut end) = (Vec::new(), Vec::new(), End::default());
    let mut tampered = false;
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        let there = wire.len();
        match choices.below(8) {
            0..=2 => {
                let data = vec![choices.byte(); usize::from(choices.u16()) % 40_000];
                wire.extend(sent(&writer, |sending| {
                    writer.write(&data, sending).expect("it has not ended")
                }));
                written.extend(data);
            }
            3 => wire.extend(sent(&writer, |sending| writer.update_key(sending))),
            4 if there > 0 => {
                wire[usize::from(choices.u16()) % there] ^= 1 << choices.below(8);
                tampered = true;
            }
            5 if there > 0 => {
                wire.drain(..1 + usize::from(choices.u16()) % there);
                tampered = true;
            }
            6 => {
                let more = choices.below(100);
                wire.extend(choices.take(more));
                tampered |= wire.len() > there;
            }
            _ => {
                let now: Vec<u8> = wire.drain(..usize::from(choices.u16()).min(there)).collect();
                end.receive(&reader, &now, 1 + usize::from(choices.u16()));
            }
        }
    }
    end.receive(&reader, &wire, 1 + usize::from(choices.u16()));
    assert!(written.starts_with(&end.got), "something else was read");
    if !tampered {
        assert!(
            !end.failed && end.got.len() == written.len(),
            "{} of {} bytes were read",
            end.got.len(),
            written.len()
        );
    }
    let mut sending = reader.try_lock_sending().expect("no thread sends");
    assert_eq!(
        reader.write(b"back", &mut sending).is_err(),
        end.failed,
        "both directions end together"
    );
}

/// One endpoint's reads.
#[derive(Default)]
struct End {
    got: Vec<u8>,
    failed: bool,
}

impl End {
    fn receive(&mut self, stream: &TlsStream, mut bytes: &[u8], room: usize) {
        let (mut buffer, mut lent) = (vec![0; room], None);
        loop {
            match stream.read(lent.take(), &mut buffer) {
                Ok(Received::Bytes(len)) => self.got.extend_from_slice(&buffer[..len]),
                Ok(Received::Closed) => panic!("no endpoint has sent close_notify"),
                Ok(Received::More(input)) if bytes.is_empty() => return stream.give_back(input),
                Ok(Received::More(mut input)) => {
                    input.receive_from(&mut bytes);
                    lent = Some(input);
                }
                Err(e) => {
                    assert_eq!(e.kind(), io::ErrorKind::InvalidData);
                    self.failed = true;
                    return;
                }
            }
            assert!(!self.failed, "it goes on after an error");
        }
    }
}

fn sent(stream: &TlsStream, send: impl FnOnce(&mut Sending)) -> Vec<u8> {
    let mut sending = stream.try_lock_sending().expect("no thread sends");
    send(&mut sending);
    let bytes = sending.output.waiting().to_vec();
    sending.output.sent(bytes.len());
    bytes
}

/// The end that dialled and the one that accepted.
fn ends(key: &KeyPair) -> [TlsStream; 2] {
    let security = DeviceSecurity::new(key).expect("it is a good key");
    let config = client_config(&security.identity, Expected::Device(security.device), ALPN_LINK)
        .expect("it is a good key");
    let tls = [client(&Arc::new(config)), server(&security.links)]
        .map(|tls| tls.expect("it is a good configuration"));
    let mut ends = tls.map(|tls| (tls, ReceiveBuffer::default()));
    while ends.iter().any(|(tls, _)| tls.is_handshaking()) {
        for at in 0..2 {
            let (mut output, (tls, input)) = (SendBuffer::default(), &mut ends[at]);
            let progress = tls.advance(input, &mut output).expect("both ends are honest");
            assert_ne!(progress, Progress::Closed);
            let mut sent = output.waiting();
            while !sent.is_empty() {
                ends[1 - at].1.receive_from(&mut sent);
            }
        }
    }
    ends.map(|(tls, input)| TlsStream::new(tls, input))
}
