//! The mapper against routers of the tests' own, on this machine.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::asker::Asker;
use super::error::RouterError;
use super::report::{Report, RouterOutcome, RouterProtocol};
use super::target::Target;
use super::{Mapper, Surroundings};
use crate::wire::port_mapping::{Answer, Nonce, PcpMapping, RouterRequest};

/// Makes the answers to a request.
type Rule = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send>;

/// A router that keeps what it was asked.
struct FakeRouter {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    last_from: Arc<Mutex<Option<SocketAddr>>>,
    rule: Arc<Mutex<Rule>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeRouter {
    fn new(rule: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (asked, is_over) =
            (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let last_from = Arc::<Mutex<Option<SocketAddr>>>::default();
        let shared = (asked.clone(), last_from.clone(), is_over.clone(), rule.clone());
        let thread = std::thread::spawn(move || {
            let (asked, last_from, is_over, rule) = shared;
            let mut buffer = [0; 2000];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                *last_from.lock() = Some(from);
                asked.lock().push(buffer[..len].to_vec());
                for answer in rule.lock()(&buffer[..len]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, asked, last_from, rule, is_over, thread: Some(thread) }
    }

    fn set(&self, rule: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        *self.rule.lock() = Box::new(rule);
    }

    fn target(&self) -> Target {
        Target { router: SocketAddr::new(self.address.ip(), 0), own: Ipv4Addr::LOCALHOST.into() }
    }

    fn asker(&self) -> Asker {
        let router_port = self.address.port();
        Asker { target: self.target(), port: 6001, router_port, nonce: [7; 12] }
    }

    fn map(&self, protocol: RouterProtocol) -> Result<SocketAddr, RouterError> {
        let granted = self.asker().map(protocol, None, Duration::from_secs(3600), &|| false);
        granted.map(|grant| grant.external)
    }
}

impl Drop for FakeRouter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn external() -> SocketAddr {
    "203.0.113.9:7001".parse().unwrap()
}

/// The answer of a router of PCP whose clock is at `epoch`.
fn pcp(request: &[u8], epoch: u32, external: SocketAddr) -> Vec<u8> {
    if request.len() < 60 {
        return Answer::PcpOther { result: 0, epoch }.to_bytes();
    }
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(&request[24..36]);
    let internal_port = u16::from_be_bytes([request[40], request[41]]);
    let lifetime = u32::from_be_bytes([request[4], request[5], request[6], request[7]]);
    let mapping = PcpMapping { nonce, internal_port, external };
    Answer::PcpMap { result: 0, epoch, lifetime, mapping }.to_bytes()
}

#[test]
fn answers_that_are_not_for_this_request_are_left_aside() {
    let router = FakeRouter::new(|request| {
        let good = pcp(request, 5, external());
        let with = |at: usize, byte: u8| {
            let mut bytes = pcp(request, 5, "203.0.113.66:1".parse().unwrap());
            bytes[at] = byte;
            bytes
        };
        // Another nonce, port, protocol, version; a request; parts; too much; nothing.
        let bad = [with(24, 9), with(41, 9), with(36, 17), with(0, 3), with(1, 1)];
        let parts = [good[..30].to_vec(), vec![0; 1_200], Vec::new(), vec![2]];
        bad.into_iter().chain(parts).chain([good.clone()]).collect()
    });
    assert_eq!(router.map(RouterProtocol::Pcp).unwrap(), external());
    assert_eq!(router.asked.lock().len(), 1);
}

#[test]
fn only_the_router_is_listened_to() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let router = FakeRouter::new(|_| Vec::new());
    let asked = router.asked.clone();
    let last_from = router.last_from.clone();
    // Another machine knows everything of the request, and answers it.
    let forger = std::thread::spawn(move || {
        while asked.lock().is_empty() {
            std::thread::yield_now();
        }
        let forged = pcp(&asked.lock()[0].clone(), 5, external());
        other.send_to(&forged, last_from.lock().unwrap()).unwrap();
    });
    let refused = router.map(RouterProtocol::Pcp).unwrap_err();
    assert!(matches!(refused, RouterError::Silent), "{refused}");
    forger.join().unwrap();
    assert_eq!(router.asked.lock().len(), 3, "it was asked three times");
}

#[test]
fn what_a_router_refuses_is_told() {
    let of_pcp = |result: u8| {
        FakeRouter::new(move |_| vec![Answer::PcpOther { result, epoch: 1 }.to_bytes()])
            .map(RouterProtocol::Pcp)
            .unwrap_err()
            .to_string()
    };
    assert!(of_pcp(2).contains("does not permit"), "{}", of_pcp(2));
    assert!(of_pcp(12).contains("a router is in between"));
    let of_old = FakeRouter::new(|_| vec![Answer::NatPmpError { opcode: 1, result: 1 }.to_bytes()]);
    let refused = of_old.map(RouterProtocol::Pcp).unwrap_err();
    assert!(matches!(refused, RouterError::NotOffered), "{refused}");
    let refused = of_old.map(RouterProtocol::NatPmp).unwrap_err();
    assert!(refused.to_string().contains("version"), "{refused}");
    // A router that is not connected, or that would have others dialled at their own machines.
    for address in ["0.0.0.0:7001", "127.0.0.1:22", "255.255.255.255:1", "224.0.0.1:1"] {
        let address: SocketAddr = address.parse().unwrap();
        let router = FakeRouter::new(move |request| vec![pcp(request, 1, address)]);
        let refused = router.map(RouterProtocol::Pcp).unwrap_err();
        assert!(matches!(refused, RouterError::Unusable(_)), "{refused}");
    }
    let closed = {
        let router = FakeRouter::new(|_| Vec::new());
        router.asker()
    };
    let refused =
        closed.map(RouterProtocol::Pcp, None, Duration::from_secs(1), &|| false).unwrap_err();
    assert!(matches!(refused, RouterError::Closed), "{refused}");
}

#[test]
fn who_ends_waits_for_no_router() {
    let router = FakeRouter::new(|_| Vec::new());
    let begun = Instant::now();
    let is_over = || begun.elapsed() > Duration::from_millis(60);
    let ended = router.asker().map(RouterProtocol::Pcp, None, Duration::from_secs(1), &is_over);
    assert!(matches!(ended, Err(RouterError::Over)));
    assert!(begun.elapsed() < Duration::from_millis(1_000), "{:?}", begun.elapsed());
}

#[test]
fn mappings_are_made_renewed_told_and_taken_back() {
    let router = FakeRouter::new(|request| vec![pcp(request, 1_000, external())]);
    let (report, holds) = (Report::default(), AtomicBool::default());
    let around = Surroundings { report: &report, holds: &holds, is_over: &|| false };
    let mut mapper = Mapper::new(6001, [3; 32]);
    mapper.router_port = router.address.port();
    let targets = [router.target()];
    mapper.step(&targets, false, &around);
    assert_eq!(mapper.external(), [external()]);
    assert!(holds.load(Ordering::Relaxed));
    let told = report.attempts();
    assert_eq!((told.len(), told[0].external()), (1, Some(external())));
    // Nothing is due; then the networks may be others.
    mapper.step(&targets, false, &around);
    assert_eq!(router.asked.lock().len(), 1);
    mapper.step(&targets, true, &around);
    let asked = router.asked.lock().clone();
    assert_eq!((asked.len(), &asked[0][..42]), (2, &asked[1][..42]), "the same nonce");
    assert_eq!(asked[1][42..44], 7001_u16.to_be_bytes(), "the same port");
    // A silent router keeps the mapping until its end; one that is behind another is told to be.
    router.set(|_| Vec::new());
    mapper.step(&targets, true, &around);
    assert_eq!(mapper.external(), [external()]);
    router.set(|request| vec![pcp(request, 2_000, "100.64.0.9:7001".parse().unwrap())]);
    mapper.step(&targets, true, &around);
    assert!(report.attempts()[0].is_behind_another());
    assert!(report.attempts()[0].to_string().contains("another router is in front of it"));
    let is_refusing = |outcome: &RouterOutcome| matches!(outcome, RouterOutcome::Mapped { .. });
    assert!(is_refusing(&report.attempts()[0].outcome));
    router.asked.lock().clear();
    mapper.withdraw(&around);
    let asked = router.asked.lock().clone();
    assert_eq!((asked.len(), &asked[0][4..8]), (1, &[0; 4][..]), "a lifetime of 0");
    assert!(mapper.external().is_empty() && report.attempts().is_empty());
    assert!(!holds.load(Ordering::Relaxed));
}

#[test]
fn a_network_that_is_gone_takes_its_mapping_along() {
    let router = FakeRouter::new(|request| vec![pcp(request, 1_000, external())]);
    let (report, holds) = (Report::default(), AtomicBool::default());
    let around = Surroundings { report: &report, holds: &holds, is_over: &|| false };
    let mut mapper = Mapper::new(6001, [3; 32]);
    mapper.router_port = router.address.port();
    mapper.step(&[router.target()], false, &around);
    mapper.step(&[], true, &around);
    assert!(mapper.external().is_empty() && report.attempts().is_empty());
    // Back again, it asks as the same device.
    mapper.step(&[router.target()], true, &around);
    let asked = router.asked.lock().clone();
    assert_eq!(asked[0], asked[1]);
}

#[test]
fn a_clock_that_has_started_anew_is_noticed() {
    let router = FakeRouter::new(|request| vec![pcp(request, 100_000, external())]);
    let asker = router.asker();
    let life = Duration::from_secs(3600);
    let grant = asker.map(RouterProtocol::Pcp, None, life, &|| false).unwrap();
    assert!(asker.has_kept(RouterProtocol::Pcp, &grant, &|| false).unwrap());
    router.set(|request| vec![pcp(request, 3, external())]);
    assert!(!asker.has_kept(RouterProtocol::Pcp, &grant, &|| false).unwrap());
    let answer = |epoch: u32, address: [u8; 4]| {
        move |request: &[u8]| {
            let map = Answer::NatPmpMap {
                epoch,
                internal_port: 6001,
                external_port: 7001,
                lifetime: 3600,
            };
            let external = address.into();
            let answer = match request.len() {
                2 => Answer::NatPmpAddress { epoch, external },
                _ => map,
            };
            vec![answer.to_bytes()]
        }
    };
    router.set(answer(100_000, [203, 0, 113, 9]));
    let grant = asker.map(RouterProtocol::NatPmp, None, life, &|| false).unwrap();
    assert_eq!(grant.external, external());
    assert!(asker.has_kept(RouterProtocol::NatPmp, &grant, &|| false).unwrap());
    router.set(answer(100_000, [203, 0, 113, 10]));
    assert!(!asker.has_kept(RouterProtocol::NatPmp, &grant, &|| false).unwrap(), "it has moved");
    router.set(answer(9, [203, 0, 113, 9]));
    assert!(!asker.has_kept(RouterProtocol::NatPmp, &grant, &|| false).unwrap());
    assert_eq!(RouterRequest::NatPmpAddress.to_bytes().len(), 2);
}
