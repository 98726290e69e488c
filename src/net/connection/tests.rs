use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::net::{DeviceSecurity, Transport};
use crate::trust::KeyPair;
use crate::types::DeviceId;

/// A pair of connected ends: encrypted, and in clear.
fn pairs() -> [(Connection, Connection); 2] {
    let [one, other] = [(); 2]
        .map(|()| Transport::Tls(DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap()));
    let plain = |n| Transport::Plain(DeviceId::from_bytes([n; 32]));
    [pair(&one, &other), pair(&plain(1), &plain(2))]
}

fn pair(dialling: &Transport, accepting: &Transport) -> (Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, timeout) = (listener.local_addr().unwrap(), Duration::from_secs(30));
    std::thread::scope(|scope| {
        let dialled =
            scope.spawn(|| dialling.dial(address, None, timeout, accepting.device()).unwrap());
        let (accepted, device) = accepting
            .accept(Incoming::new(listener.accept().unwrap().0).unwrap(), timeout)
            .unwrap();
        assert_eq!(device, dialling.device());
        (dialled.join().unwrap(), accepted)
    })
}

/// What the system does to a connection that it neither makes nor refuses: the backlog is full.
#[cfg(target_os = "linux")]
#[test]
fn an_address_that_does_not_answer_is_waited_for_once() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let timeout = Duration::from_millis(700);
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, timeout) {
        held.push(stream);
        assert!(held.len() < 100, "the backlog never fills");
    }
    let started = Instant::now();
    let error = Incoming::dial(address, Some(address.ip()), timeout).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(
        started.elapsed() < 2 * timeout,
        "{:?} for a time-out of {timeout:?}",
        started.elapsed()
    );
}

#[test]
fn both_directions_work_while_a_reader_waits() {
    for (a, b) in pairs() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut got = [0; 4];
                a.reader().read_exact(&mut got).unwrap();
                assert_eq!(&got, b"pong");
            });
            a.writer().write_all(b"ping").unwrap();
            let mut got = [0; 4];
            b.reader().read_exact(&mut got).unwrap();
            assert_eq!(&got, b"ping");
            b.writer().write_all(b"pong").unwrap();
        });
    }
}

/// Both ends send more than any buffer holds before either reads: a connection in which reads wait
/// for writes would hang here.
#[test]
fn megabytes_go_both_ways_at_once() {
    for (a, b) in pairs() {
        std::thread::scope(|scope| {
            for (from, to) in [(&a, &b), (&b, &a)] {
                scope.spawn(|| {
                    let mut writer = from.writer();
                    (0..64u8).for_each(|n| writer.write_all(&vec![n; 128 << 10]).unwrap());
                });
                scope.spawn(|| {
                    let (mut reader, mut piece) = (to.reader(), vec![0; 128 << 10]);
                    for n in 0..64 {
                        reader.read_exact(&mut piece).unwrap();
                        assert!(piece.iter().all(|byte| *byte == n));
                    }
                });
            }
        });
    }
}

#[test]
fn a_reader_finds_the_data_that_the_one_before_left() {
    for (a, b) in pairs() {
        a.writer().write_all(b"first second").unwrap();
        for want in [b"first ", b"second"] {
            let mut got = [0; 6];
            b.reader().read_exact(&mut got).unwrap();
            assert_eq!(&got, want);
        }
    }
}

#[test]
fn a_deadline_holds_against_dripping_bytes() {
    for (a, b) in pairs() {
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = b.writer();
                while started.elapsed() < Duration::from_secs(20) && writer.write_all(b".").is_ok()
                {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            });
            let mut reader = a.reader();
            reader.set_deadline(Some(started + Duration::from_millis(200)));
            let error = reader.read_exact(&mut [0; 1 << 20]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(started.elapsed() < Duration::from_secs(10), "the deadline was ignored");
            a.close();
        });
    }
}

#[test]
fn waiting_tells_idle_from_ready_and_close_wakes() {
    for (a, b) in pairs() {
        let mut reader = a.reader();
        assert!(!reader.wait(Duration::from_millis(10)).unwrap());
        b.writer().write_all(b"xy").unwrap();
        assert!(reader.wait(Duration::from_secs(10)).unwrap());
        reader.read_exact(&mut [0]).unwrap();
        assert!(reader.wait(Duration::from_secs(10)).unwrap(), "the second byte is here already");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| b.reader().read(&mut [0]));
            a.close();
            // Closed with a byte unread, so the other end may see an end or a reset; either wakes
            // it.
            let _ = waiting.join().unwrap();
        });
    }
}

#[test]
fn try_write_never_blocks_and_loses_nothing() {
    for (a, b) in pairs() {
        let mut writer = a.writer();
        let chunk: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8).collect();
        let mut taken = 0;
        loop {
            match writer.try_write(&chunk[taken % chunk.len()..]).unwrap() {
                0 => break,
                len => taken += len,
            }
            assert!(taken < 10 << 30, "loopback took 10 GB without a reader");
        }
        let mut got = vec![0; taken];
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| b.reader().read_exact(&mut got));
            while !writer.try_flush().unwrap() {
                std::thread::yield_now();
            }
            reading.join().unwrap().unwrap();
        });
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == chunk[at % chunk.len()]));
    }
}

/// Linux resets at once, though others hold the connection and wait for it.
#[cfg(target_os = "linux")]
#[test]
fn an_aborted_connection_is_reset_at_once() {
    for (a, b) in pairs() {
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| a.writer().write_all(&vec![1; 64 << 20]));
            let reading = scope.spawn(|| a.reader().read(&mut [0]));
            let mut reader = b.reader();
            reader.read_exact(&mut [0; 1 << 20]).unwrap();
            a.abort();
            assert!(writing.join().unwrap().is_err(), "64 MiB went out");
            assert!(!matches!(reading.join().unwrap(), Ok(1..)));
            let mut got = Vec::new();
            let error = reader.read_to_end(&mut got).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::ConnectionReset,
                "{} bytes came yet",
                got.len()
            );
        });
    }
}

#[test]
fn a_key_update_wakes_no_reader() {
    let [(a, b), _] = pairs();
    let tls = a.inner.tls.as_ref().unwrap();
    let new_key = || {
        let mut sending = tls.try_lock_sending().unwrap();
        tls.update_key(&mut sending);
        assert!(a.inner.try_send_all(&mut sending).unwrap());
    };
    let mut reader = b.reader();
    new_key();
    let started = Instant::now();
    assert!(!reader.wait(Duration::from_millis(300)).unwrap(), "a new key is nothing to read");
    assert!(started.elapsed() >= Duration::from_millis(290), "{:?}", started.elapsed());
    new_key();
    assert!(!reader.is_ready());
    new_key();
    a.writer().write_all(b"data").unwrap();
    assert!(reader.wait(Duration::from_secs(10)).unwrap() && reader.is_ready());
    reader.read_exact(&mut [0; 4]).unwrap();
    a.close();
    assert!(
        reader.wait(Duration::from_secs(10)).unwrap() && reader.is_ready(),
        "the end can be read"
    );
}

/// A write that was given up has sent a part of a record. Nothing follows it, not even
/// `close_notify`, and the whole records in front of it arrive.
#[test]
fn a_write_that_fails_tears_no_record() {
    for (a, b) in pairs() {
        a.inner.socket.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let message = vec![7; 64 << 20];
        let error = a.writer().write_all(&message).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        if a.inner.tls.is_some() {
            assert!(
                a.writer().write_all(b"more").is_err() && a.writer().try_write(b"more").is_err()
            );
        }
        a.close();
        let mut got = Vec::new();
        b.reader().read_to_end(&mut got).unwrap();
        assert!(got.len() < message.len() && got.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn a_writer_waits_for_another_until_its_deadline() {
    let [(a, _b), _] = pairs();
    let _held = a.inner.tls.as_ref().unwrap().try_lock_sending();
    let error =
        a.writer().write_all_by(b"x", Instant::now() + Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
