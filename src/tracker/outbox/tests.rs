use super::*;
use crate::net::{DeviceSecurity, Incoming, Transport};
use crate::trust::KeyPair;
use std::io::Read;
use std::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);

fn pair() -> (Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let [here, there] = [(); 2]
        .map(|()| Transport::Tls(DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap()));
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            there.accept(Incoming::new(listener.accept().unwrap().0).unwrap(), PATIENCE).unwrap().0
        });
        let dialled =
            here.dial(listener.local_addr().unwrap(), None, PATIENCE, there.device()).unwrap();
        (dialled, accepted.join().unwrap())
    })
}

fn with_notifier(work: impl FnOnce(&Notifier)) {
    let (notifier, stop) = (Notifier::new(), Stop::new());
    std::thread::scope(|scope| {
        scope.spawn(|| notifier.run(&stop));
        work(&notifier);
        stop.set();
    });
}

#[test]
fn frames_from_two_threads_arrive_whole_and_in_order() {
    with_notifier(|notifier| {
        let (here, there) = pair();
        let outbox = Outbox::new(here, notifier);
        let frame = |kind: u8, len: usize| -> Frame { vec![kind; len].into() };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|_| outbox.send(frame(1, 70_001)).unwrap()));
            scope.spawn(|| (0..500).for_each(|_| outbox.push(frame(2, 997))));
            let mut reader = there.reader();
            let (mut answers, mut events) = (0, 0);
            while answers < 200 || events < 500 {
                let mut first = [0];
                reader.read_exact(&mut first).unwrap();
                let (len, count) =
                    if first[0] == 1 { (70_000, &mut answers) } else { (996, &mut events) };
                let mut rest = vec![0; len];
                reader.read_exact(&mut rest).unwrap();
                assert!(rest.iter().all(|byte| *byte == first[0]), "frames ran into each other");
                *count += 1;
            }
        });
    });
}

#[test]
fn a_consumer_that_takes_nothing_is_disconnected_and_nobody_waits_for_it() {
    with_notifier(|notifier| {
        let (here, there) = pair();
        let outbox = Outbox::new(here, notifier);
        let frame: Frame = vec![7; 64 << 10].into();
        // The system's own buffers take some megabytes first.
        let mut pushed = 0;
        while !outbox.state.lock().closed {
            outbox.push(frame.clone());
            pushed += 1;
            assert!(pushed < 10_000, "640 MB were taken for a consumer that reads nothing");
        }
        assert!(outbox.send(frame).is_err());
        let mut reader = there.reader();
        let mut sink = vec![0; 1 << 20];
        while reader.read(&mut sink).is_ok_and(|len| len > 0) {}
    });
}

#[test]
fn a_stalled_consumer_is_given_up_when_its_time_is_over() {
    let (here, _there) = pair();
    let notifier = Notifier::new();
    let outbox = Outbox::new(here, &notifier);
    // Fill the system's buffers by hand, so that what is pushed waits.
    let full = vec![0; 1 << 20];
    while outbox.connection.writer().try_write(&full).unwrap() > 0 {}
    outbox.push(vec![1; 1 << 20].into());
    let start = Instant::now();
    assert!(outbox.flush(start));
    assert!(outbox.flush(start + STALL_MAX / 2));
    assert!(!outbox.flush(start + STALL_MAX), "it has had its time");
    assert!(outbox.state.lock().closed);
}

#[test]
fn what_is_pushed_before_the_end_still_leaves() {
    let (here, there) = pair();
    with_notifier(|notifier| {
        let outbox = Outbox::new(here, notifier);
        outbox.push(vec![9; 100].into());
    });
    let mut got = [0; 100];
    there.reader().read_exact(&mut got).unwrap();
    assert_eq!(got, [9; 100]);
}

#[test]
fn a_consumer_that_is_slow_now_and_then_is_not_taken_for_one_that_stalls() {
    let (here, there) = pair();
    let notifier = Notifier::new();
    let outbox = Outbox::new(here, &notifier);
    let fill = |len: usize| {
        let full = vec![0; len];
        let mut filled = 0;
        loop {
            match outbox.connection.writer().try_write(&full).unwrap() {
                0 => return filled,
                len => filled += len,
            }
        }
    };
    let filled = fill(1 << 20);
    let start = Instant::now();
    assert!(outbox.flush(start), "what the connection took has not left it");
    // The other end takes everything in time.
    std::thread::scope(|scope| {
        scope.spawn(|| there.reader().read_exact(&mut vec![0; filled]).unwrap());
        while outbox.flush(start + STALL_MAX / 2) {
            std::thread::yield_now();
        }
    });
    fill(1 << 20);
    assert!(outbox.flush(start + 2 * STALL_MAX), "it has only begun to be slow again");
    assert!(!outbox.state.lock().closed);
}

#[test]
fn an_answer_has_one_deadline_however_it_drips_out() {
    with_notifier(|notifier| {
        let (here, there) = pair();
        let outbox = Outbox::new(here, notifier);
        let mut writer = outbox.connection.writer();
        let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(writer.write_all_by(&[1], late).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (start, rate) = (Instant::now(), 16 << 10);
        assert_eq!(Writer::deadline(start, 10 * rate) - start, Duration::from_secs(40));
        outbox.send(vec![2; 100].into()).unwrap();
        there.reader().read_exact(&mut [0; 100]).unwrap();
    });
}
