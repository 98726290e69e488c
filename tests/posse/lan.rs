//! Members on one network find each other when no tracker is in reach, and whoever else is there
//! learns little and harms nobody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{ClientProcess, Content, LocalNetwork, Pace, World, eventually, sha1_of};

/// Multicast DNS.
const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);
/// How long members of one network take to find each other.
const FOUND_MAX: Duration = Duration::from_secs(5);

/// Two members on one network who know of each other, have tickets, and could not link so far.
struct Stage {
    network: LocalNetwork,
    _world: World,
    content: Content,
    nik: ClientProcess,
    bob: ClientProcess,
}

impl Stage {
    fn set(seed: u64) -> Option<Self> {
        Self::set_with(seed, &[])
    }

    /// The same, where bob's client has these options.
    fn set_with(seed: u64, options: &[&str]) -> Option<Self> {
        let network = LocalNetwork::build(2)?;
        let world = World::with_options(1, &["--listen", "0.0.0.0"]);
        world.group("lab", &["nik", "bob"]);
        let info = network.info(&world);
        let content = Content::new("a.bin", 32 << 20, seed);
        world.put("nik", &content);
        network.cut(1, network.address(0), true);
        let mut nik = network.client(0, &world.home("nik"), &info, &[]);
        let mut bob = network.client(1, &world.home("bob"), &info, options);
        nik.login("nik");
        nik.ok("upload_file a.bin lab", &[]);
        bob.login("bob");
        bob.ok("download_file lab a.bin", &[]);
        // He has a ticket then, and dials.
        eventually("he cannot reach her", || {
            let why = bob.object("why lab a.bin").to_string();
            why.contains("cannot be reached at").then_some(())
        });
        assert_eq!(bob.bytes_done("a.bin"), 0);
        Some(Self { network, _world: world, content, nik, bob })
    }

    /// No tracker is in reach from now on, and nik has another address, of which none has heard.
    fn cut(&self) -> SocketAddr {
        for machine in 0..2 {
            self.network.cut(machine, self.network.here(), false);
        }
        SocketAddr::new(self.network.change_address(0), self.nik.address.port())
    }

    fn completes(mut self, cut: Instant, what: &str) {
        let pace = Pace::of(&mut self.bob, "a.bin", self.content.bytes.len(), cut);
        eprintln!("{what}: {pace}");
        self.bob.wait_downloads();
        assert_eq!(sha1_of(&self.bob.path("a.bin")), self.content.sha1());
    }
}

/// Where a client has found another on its networks.
fn found(client: &mut ClientProcess) -> Vec<(String, Vec<SocketAddr>)> {
    let said: Value = client.object("addresses");
    let all = said["lan"]["found"].as_array().unwrap_or_else(|| panic!("{said}"));
    let addresses = |one: &Value| serde_json::from_value(one["addresses"].clone()).unwrap();
    all.iter().map(|one| (one["device"].as_str().unwrap().to_owned(), addresses(one))).collect()
}

fn is_found_at(client: &mut ClientProcess, device: &str, at: SocketAddr) {
    eventually("it is found", || {
        let all = found(client);
        all.iter().any(|(who, where_at)| who == device && where_at.contains(&at)).then_some(())
    });
}

/// The id under which a client announces itself.
fn announced(client: &mut ClientProcess) -> String {
    eventually("it is announced", || {
        let said: Value = client.object("addresses");
        said["lan"]["announced"].as_str().map(str::to_owned)
    })
}

/// A machine on the network that has joined the group.
fn listener(network: &LocalNetwork) -> UdpSocket {
    let IpAddr::V4(here) = network.here() else { unreachable!("the network has IPv4") };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), GROUP.port()).into()).unwrap();
    socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &here).unwrap();
    socket.set_multicast_if_v4(&here).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.into()
}

/// The next datagram that one of these addresses has sent, within a time.
fn next_of(socket: &UdpSocket, from: &[IpAddr], limit: Duration) -> Option<(IpAddr, Vec<u8>)> {
    let until = Instant::now() + limit;
    let mut datagram = [0; 9_000];
    while Instant::now() < until {
        if let Ok((len, sender)) = socket.recv_from(&mut datagram)
            && from.contains(&sender.ip())
        {
            return Some((sender.ip(), datagram[..len].to_vec()));
        }
    }
    None
}

fn is_response(datagram: &[u8]) -> bool {
    datagram[2] & 0x80 != 0
}

fn contains(datagram: &[u8], part: &[u8]) -> bool {
    datagram.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// A name as in a DNS message.
fn dns_name(labels: &[&[u8]]) -> Vec<u8> {
    let mut name: Vec<u8> =
        labels.iter().flat_map(|label| [&[label.len() as u8], *label].concat()).collect();
    name.push(0);
    name
}

/// A record of the class IN.
fn dns_record(name: &[&[u8]], kind: u16, data: &[u8]) -> Vec<u8> {
    let (kind, class, ttl) = (kind.to_be_bytes(), 1_u16.to_be_bytes(), 1_200_u32.to_be_bytes());
    let len = (data.len() as u16).to_be_bytes();
    [&dns_name(name)[..], &kind, &class, &ttl, &len, data].concat()
}

/// An announcement under an id, of any address.
fn announcement(id: &str, at: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = at.ip() else { unreachable!("the network has IPv4") };
    let (host, instance): ([&[u8]; 2], [&[u8]; 4]) =
        ([id.as_bytes(), b"local"], [id.as_bytes(), b"_posse", b"_tcp", b"local"]);
    let port = at.port().to_be_bytes();
    let srv = [&[0, 0, 0, 0, port[0], port[1]], &dns_name(&host)[..]].concat();
    let head = [0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    [&head[..], &dns_record(&instance, 33, &srv), &dns_record(&host, 1, &ip.octets())].concat()
}

#[test]
fn members_of_one_network_find_each_other_when_all_trackers_are_cut_off() {
    let Some(mut stage) = Stage::set(901) else { return };
    let (device, cut) = (stage.nik.device().to_string(), Instant::now());
    let at = stage.cut();
    is_found_at(&mut stage.bob, &device, at);
    let took = cut.elapsed();
    eprintln!("all trackers cut off, one LAN: found by mDNS after {took:?}");
    assert!(took < FOUND_MAX, "found after {took:?}");
    stage.completes(cut, "found by mDNS");
}

#[test]
fn who_does_not_look_around_is_told_so() {
    let Some(mut stage) = Stage::set_with(905, &["--no-lan"]) else { return };
    stage.cut();
    eventually("he is told why nobody is found", || {
        let why = stage.bob.object("why lab a.bin").to_string();
        why.contains("not even on this network: --no-lan").then_some(())
    });
    assert_eq!(found(&mut stage.bob), Vec::new());
    assert_eq!(stage.bob.bytes_done("a.bin"), 0);
}

#[test]
fn a_download_that_is_resumed_without_trackers_goes_on() {
    let Some(mut stage) = Stage::set(904) else { return };
    let device = stage.nik.device().to_string();
    let at = stage.cut();
    // No tracker tells nik, who would not serve him then.
    stage.bob.ok("pause_download lab a.bin", &[]);
    is_found_at(&mut stage.bob, &device, at);
    let resumed = Instant::now();
    stage.bob.ok("resume_download lab a.bin", &[]);
    stage.completes(resumed, "resumed and found by mDNS");
}

#[test]
fn members_find_each_other_over_ipv6_as_well() {
    let Some(mut stage) = Stage::set(903) else { return };
    let ipv6 = (0..2).map(|machine| stage.network.turn_to_ipv6(machine));
    let Some(ipv6) = ipv6.collect::<Option<Vec<_>>>() else { return };
    let (device, cut) = (stage.nik.device().to_string(), Instant::now());
    let at = stage.cut();
    is_found_at(&mut stage.bob, &device, at);
    is_found_at(&mut stage.bob, &device, SocketAddr::new(ipv6[0], at.port()));
    eprintln!("found by mDNS over IPv6 after {:?}", cut.elapsed());
    stage.completes(cut, "found by mDNS over IPv6");
}

#[test]
fn a_hostile_machine_on_the_network_harms_nobody() {
    let Some(mut stage) = Stage::set(902) else { return };
    let socket = listener(&stage.network);
    // Eve hears nik's id, and announces it as her own.
    let id = announced(&mut stage.nik);
    let eve = std::net::TcpListener::bind((stage.network.here(), 0)).unwrap();
    let false_at = eve.local_addr().unwrap();
    let memory = stage.bob.process().proc_status("VmRSS");
    let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let is_paced = Arc::new(AtomicBool::new(true));
    let flood = {
        let (is_over, is_paced) = (is_over.clone(), is_paced.clone());
        let (sent, socket) = (sent.clone(), socket.try_clone().unwrap());
        std::thread::spawn(move || {
            for number in 0_u64.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                if is_paced.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                let stranger = format!("{:032x}", 0xfeed_0000_0000_u64 + number);
                let garbage = number.to_be_bytes().repeat(100);
                let datagrams = [
                    announcement(&stranger, false_at),
                    announcement(&id, false_at),
                    [b"\0\0\x84\0\0\0\xff\xff\0\0\0\0\x06_posse\xc0\x0c", &garbage[..]].concat(),
                ];
                for datagram in datagrams {
                    let is_sent = socket.send_to(&datagram, GROUP).is_ok();
                    sent.fetch_add(u64::from(is_sent), Ordering::Relaxed);
                }
            }
        })
    };
    let (device, cut) = (stage.nik.device().to_string(), Instant::now());
    let at = stage.cut();
    is_found_at(&mut stage.bob, &device, at);
    eprintln!("found by mDNS beside a flood after {:?}", cut.elapsed());
    eventually("it moves", || (stage.bob.bytes_done("a.bin") > 0).then_some(()));
    // As fast as she can, from now on.
    is_paced.store(false, Ordering::Relaxed);
    let before = sent.load(Ordering::Relaxed);
    eventually("there is a flood", || {
        (sent.load(Ordering::Relaxed) > before + 100_000).then_some(())
    });
    let said: Value = stage.bob.object("addresses");
    let all = said["lan"]["found"].as_array().unwrap();
    let addresses = all.iter().map(|one| one["addresses"].as_array().unwrap().len());
    assert!(all.len() == 1 && addresses.max() <= Some(4), "{said}");
    let (bob, limit) = (stage.bob.process(), 64 << 10);
    let grown = bob.proc_status("VmRSS").saturating_sub(memory);
    assert!(grown < limit, "it has grown by {grown} KiB");
    stage.bob.wait_downloads();
    assert_eq!(sha1_of(&stage.bob.path("a.bin")), stage.content.sha1());
    is_over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    eprintln!("{sent:?} false datagrams; memory had grown by {grown} KiB");
}

#[test]
fn what_is_announced_names_nobody_and_ends_with_the_client() {
    let Some(network) = LocalNetwork::build(2) else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    let info = network.info(&world);
    let socket = listener(&network);
    let members = [network.address(0), network.address(1)];
    let mut quiet = network.client(1, &world.home("bob"), &info, &["--no-lan"]);
    quiet.login("bob");
    let said: Value = quiet.object("addresses");
    assert_eq!(said["lan"]["reason"], "--no-lan", "{said}");
    let mut nik = network.client(0, &world.home("nik"), &info, &[]);
    nik.login("nik");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(dns_name(&[b"_posse", b"_tcp", b"local"]));
    query.extend([0, 12, 0, 1]);
    let mut heard = Vec::new();
    // Three times, of which one at least answers the question: bob has heard it, too.
    eventually("nik answers", || {
        if heard.len() == 2 {
            socket.send_to(&query, GROUP).unwrap();
        }
        if let Some((sender, datagram)) = next_of(&socket, &members, Duration::from_secs(3)) {
            assert_eq!(sender, members[0], "bob says something");
            if is_response(&datagram) {
                heard.push(datagram);
            }
        }
        (heard.len() >= 3).then_some(())
    });
    let id = announced(&mut nik);
    let device = nik.device().to_string();
    for datagram in &heard {
        assert!(contains(datagram, id.as_bytes()) && contains(datagram, b"_posse"));
        for name in ["nik", "lab", host.trim(), &device] {
            assert!(!contains(datagram, name.as_bytes()), "{name} is named");
        }
    }
    // A client that ends takes it back: no record lives any longer.
    nik.finish();
    let last = eventually("it is taken back", || {
        let (sender, datagram) = next_of(&socket, &members, Duration::from_secs(3))?;
        assert_eq!(sender, members[0], "bob says something");
        let instance = dns_name(&[id.as_bytes()]);
        let label = &instance[..instance.len() - 1];
        let at = datagram.windows(label.len()).position(|window| window == label)?;
        // The answer names the service, and then the device: its time to live is in between.
        is_response(&datagram).then(|| datagram[at - 6..at - 2].to_vec())
    });
    assert_eq!(last, [0; 4]);
}
