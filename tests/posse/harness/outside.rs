//! The outside, with routers on it that forward ports if asked: network namespaces. The trackers
//! stay in the namespace of the tests, which has an address on the outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::network::{ip, nft};
use super::{ClientProcess, PATIENCE, Process, World};

/// The number of the address of the machine behind a router.
const MACHINE_INSIDE: u8 = 10;

/// A network in which every machine reaches every other.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// The namespace that holds its bridge.
    name: String,
    bridge: &'static str,
    /// Its first address, and how many bits name it.
    first: Ipv4Addr,
    prefix_len: u8,
    /// The router of those who join it, if it leads elsewhere.
    gateway: Option<Ipv4Addr>,
}

impl Segment {
    fn address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + u32::from(number))
    }

    fn with_prefix(&self, number: u8) -> String {
        format!("{}/{}", self.address(number), self.prefix_len)
    }

    /// Joins a namespace to it, whose end is called `eth0`.
    fn join(&self, name: &str, number: u8) -> Result<(), String> {
        let port = format!("port{number}");
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", name];
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&[&["-n", &self.name, "link", "add", &port], &pair[..]].concat())?;
        ip(&["-n", &self.name, "link", "set", &port, "master", self.bridge, "up"])?;
        ip(&["-n", name, "addr", "add", &self.with_prefix(number), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        match self.gateway {
            Some(gateway) => {
                ip(&["-n", name, "route", "add", "default", "via", &gateway.to_string()])
            }
            None => Ok(()),
        }
    }

    fn make_bridge(&self, number: u8) -> Result<(), String> {
        ip(&["-n", &self.name, "link", "add", self.bridge, "type", "bridge"])?;
        let address = self.with_prefix(number);
        ip(&["-n", &self.name, "addr", "add", &address, "dev", self.bridge])?;
        ip(&["-n", &self.name, "link", "set", self.bridge, "up"])
    }
}

/// The outside: public addresses. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Outside {
    segment: Segment,
    near: String,
}

impl Outside {
    /// The numbers of addresses: this namespace's, that of the machine outside, and from which on
    /// routers have theirs.
    const HERE: u8 = 1;
    const MACHINE: u8 = 2;
    const HOMES: u8 = 3;

    /// Builds one. Without the permission, or `miniupnpd`, it prints the reason and returns none.
    pub(crate) fn build() -> Option<Self> {
        if Command::new("miniupnpd").arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no `miniupnpd` here to make routers with");
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Sixteen addresses of a network that is no part of the public Internet's routes.
        // `miniupnpd` does not forward at an address that it knows to be private or reserved.
        let first = (pid * 16 + number) % (1 << 19) * 16;
        let segment = Segment {
            name: format!("posse-street{pid}-{number}"),
            bridge: "street",
            first: Ipv4Addr::from_bits(Ipv4Addr::new(25, 0, 0, 0).to_bits() + first),
            prefix_len: 28,
            gateway: None,
        };
        let street = Self { near: format!("pr{pid}n{number}"), segment };
        match street.lay() {
            Ok(()) => Some(street),
            Err(why) => {
                eprintln!("SKIPPED: no network namespace can be made here: {why}");
                None
            }
        }
    }

    fn lay(&self) -> Result<(), String> {
        let Self { segment, near } = self;
        let name = segment.name.as_str();
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        segment.make_bridge(Self::MACHINE)?;
        ip(&["link", "add", near, "type", "veth", "peer", "name", "here", "netns", name])?;
        ip(&["-n", name, "link", "set", "here", "master", segment.bridge, "up"])?;
        ip(&["addr", "add", &segment.with_prefix(Self::HERE), "dev", near])?;
        ip(&["link", "set", near, "up"])
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The trackers' file as it is used from here; they are to listen at every address.
    pub(crate) fn info(&self, world: &World) -> PathBuf {
        let text = std::fs::read_to_string(&world.info).unwrap();
        let path = world.path().join(format!("{}.txt", self.near));
        let here = self.segment.address(Self::HERE).to_string();
        std::fs::write(&path, text.replace("127.0.0.1", &here)).unwrap();
        path
    }

    /// Starts a client on the machine outside.
    pub(crate) fn client(&self, home: &Path, info: &Path) -> ClientProcess {
        client_in(&self.segment.name, home, info, &["--no-port-mapping"])
    }

    /// Tells whether the machine outside can connect there.
    pub(crate) fn can_connect(&self, address: SocketAddr) -> bool {
        let script = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
        let words = ["netns", "exec", &self.segment.name, "timeout", "1", "bash", "-c", &script];
        ip(&words).is_ok()
    }

    /// Lets the machine outside reach addresses of IPv6 behind a router.
    pub(crate) fn add_ipv6(&self, home: &Home) -> Result<(), String> {
        let name = self.segment.name.as_str();
        ip(&["-n", name, "addr", "add", "2a0f:1::2/64", "dev", "street", "nodad"])?;
        let router = home.router.as_str();
        ip(&["-n", router, "addr", "add", "2a0f:1::3/64", "dev", "eth0", "nodad"])?;
        ip(&["-n", router, "route", "add", "default", "via", "2a0f:1::2"])?;
        let forward = "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        ip(&["netns", "exec", router, "sh", "-c", forward])?;
        ip(&["-n", router, "addr", "add", "2a0f:2::1/64", "dev", "lan0", "nodad"])?;
        let machine = home.machine.as_str();
        ip(&["-n", machine, "addr", "add", "2a0f:2::10/64", "dev", "eth0", "nodad"])?;
        ip(&["-n", machine, "route", "add", "default", "via", "2a0f:2::1", "dev", "eth0"])?;
        ip(&["-n", name, "route", "add", "2a0f:2::/64", "via", "2a0f:1::3"])
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.near]);
        let _ = ip(&["netns", "delete", &self.segment.name]);
    }
}

/// How a router can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Pcp,
    NatPmp,
    Upnp,
}

/// A router that translates addresses and lets in what was asked for, with a machine behind it;
/// removed when dropped.
#[derive(Debug)]
pub(crate) struct Home {
    router: String,
    machine: String,
    outside: Ipv4Addr,
    inside: Segment,
    daemon: Option<Process>,
}

impl Home {
    /// Builds one on a street, or behind the router of a carrier.
    pub(crate) fn build(street: &Segment, number: u8) -> Self {
        Self::with_network(street, number, Ipv4Addr::new(192, 168, 77, 0))
    }

    /// Builds a carrier's router, whose customers have the addresses meant for that.
    pub(crate) fn carrier(street: &Segment, number: u8) -> Self {
        Self::with_network(street, number, Ipv4Addr::new(100, 64, 3, 0))
    }

    fn with_network(street: &Segment, number: u8, inside: Ipv4Addr) -> Self {
        let router = format!("{}-r{number}", street.name);
        let number = Outside::HOMES + number;
        let gateway = Ipv4Addr::from_bits(inside.to_bits() + 1);
        let inside = Segment {
            name: router.clone(),
            bridge: "lan0",
            first: inside,
            prefix_len: 24,
            gateway: Some(gateway),
        };
        let (machine, outside) = (format!("{router}-m"), street.address(number));
        let home = Self { router, machine, outside, inside, daemon: None };
        home.furnish(street, number).unwrap_or_else(|why| panic!("no router can be made: {why}"));
        home
    }

    fn furnish(&self, street: &Segment, number: u8) -> Result<(), String> {
        street.join(&self.router, number)?;
        self.inside.make_bridge(1)?;
        self.inside.join(&self.machine, MACHINE_INSIDE)?;
        // As `miniupnpd` wants its chains to be called.
        nft(
            &self.router,
            "table inet filter { \
             chain miniupnpd { }; \
             chain prerouting_miniupnpd { }; \
             chain postrouting_miniupnpd { }; \
             chain forward { type filter hook forward priority 0; policy drop; \
             ct state established,related accept; iifname \"lan0\" accept; jump miniupnpd; }; \
             chain pre { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }; \
             chain post { type nat hook postrouting priority 100; \
             meta nfproto ipv4 oifname \"eth0\" masquerade; jump postrouting_miniupnpd; }; }",
        )
    }

    /// The network behind it.
    pub(crate) fn inside(&self) -> &Segment {
        &self.inside
    }

    /// The router's address on the outside.
    pub(crate) fn outside(&self) -> IpAddr {
        self.outside.into()
    }

    /// The router's address on the inside.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.inside.address(1).into()
    }

    /// From now on the router can be asked in that way, and in no other.
    pub(crate) fn can_be_asked(&mut self, how: Asked) {
        if how == Asked::NatPmp {
            // `miniupnpd` has PCP wherever it has NAT-PMP; an older router drops what it does not
            // know. Version 2 is PCP.
            let rules = "table inet old { chain input { type filter hook input priority 0; \
                         udp dport 5351 @th,64,8 2 drop; }; }";
            nft(&self.router, rules).unwrap();
        }
        // Its clock is the machine's at first: it seems to have been on for long.
        self.start_daemon(how, true);
    }

    fn start_daemon(&mut self, how: Asked, is_old: bool) {
        let is = |is: bool| if is { "yes" } else { "no" };
        let config = format!(
            "ext_ifname=eth0\nlistening_ip=lan0\nenable_natpmp={}\nenable_upnp={}\n\
             system_uptime={}\nsecure_mode=yes\nmin_lifetime=120\n\
             uuid=2a0c6a3e-5f0c-4f4e-9d43-7c1d5e6b7a80\nallow 1024-65535 0.0.0.0/0 1024-65535\n",
            is(how != Asked::Upnp),
            is(how == Asked::Upnp),
            is(is_old)
        );
        let base = std::env::temp_dir().join(&self.router);
        let (path, pid) = (base.with_extension("conf"), base.with_extension("pid"));
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.router)).args(["--", "miniupnpd", "-d"]);
        command.arg("-f").arg(&path).arg("-P").arg(&pid);
        let daemon = Process::spawn(&format!("miniupnpd of {}", self.router), &mut command);
        let begins = if how == Asked::Upnp { "HTTP listening" } else { "Listening for NAT-PMP" };
        let is_up = |line: &String| line.contains(begins);
        let up = daemon.wait_said(PATIENCE, |said| said.err.iter().any(is_up).then_some(()));
        assert!(up.is_some(), "miniupnpd does not start: {:?}", daemon.said().err);
        self.daemon = Some(daemon);
    }

    /// The router starts anew: nothing is forwarded any more, and its clock begins again.
    pub(crate) fn restart(&mut self, how: Asked) {
        self.stop_daemon();
        for chain in ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"] {
            nft(&self.router, &format!("flush chain inet filter {chain}")).unwrap();
        }
        self.start_daemon(how, false);
    }

    /// The router answers nothing any more, but goes on to forward.
    pub(crate) fn fall_silent(&self) {
        let rules = "table inet silent { chain input { type filter hook input priority 0; \
                     iifname \"lan0\" drop; }; }";
        nft(&self.router, rules).unwrap();
    }

    /// The router lets nothing out to the machine outside, so that no hole is punched to it.
    pub(crate) fn let_nothing_out_to(&self, outside: &Outside) {
        let machine = outside.segment.address(Outside::MACHINE);
        let rules = format!(
            "table ip shut {{ chain out {{ type filter hook forward priority -10; \
             ip daddr {machine} drop; }}; }}"
        );
        nft(&self.router, &rules).unwrap();
    }

    fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.wait_exit(PATIENCE);
        }
    }

    /// Starts a program in the machine inside, which takes its address as its last word.
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Process {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.machine)).args(["--", program]);
        command.args(words).arg(self.inside.address(MACHINE_INSIDE).to_string());
        Process::spawn(program, &mut command)
    }

    /// How many ports the router forwards.
    pub(crate) fn forwarded(&self) -> usize {
        let list = ["netns", "exec", &self.router, "nft", "list", "ruleset"];
        let rules = Command::new("ip").args(list).output().unwrap();
        String::from_utf8_lossy(&rules.stdout).matches("dnat ").count()
    }

    /// Starts a client on the machine inside.
    pub(crate) fn client(&self, home: &Path, info: &Path, options: &[&str]) -> ClientProcess {
        client_in(&self.machine, home, info, options)
    }

    /// Starts one at that port.
    pub(crate) fn client_at(&self, home: &Path, info: &Path, port: u16) -> ClientProcess {
        let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        client_at(&self.machine, home, address, info, &[])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.daemon = None;
        let base = std::env::temp_dir().join(&self.router);
        let _ = std::fs::remove_file(base.with_extension("conf"));
        let _ = std::fs::remove_file(base.with_extension("pid"));
        let _ = ip(&["netns", "delete", &self.machine]);
        let _ = ip(&["netns", "delete", &self.router]);
    }
}

fn client_in(name: &str, home: &Path, info: &Path, options: &[&str]) -> ClientProcess {
    client_at(name, home, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0), info, options)
}

/// At an address of IPv6 that is every one, of IPv4 too.
fn client_at(
    name: &str,
    home: &Path,
    address: SocketAddr,
    info: &Path,
    options: &[&str],
) -> ClientProcess {
    let net = format!("--net=/run/netns/{name}");
    let wrapper = ["nsenter", net.as_str(), "--"];
    let options = [&["--port-mapping"], options].concat();
    ClientProcess::start_through(&wrapper, home, address, info, &options)
}
