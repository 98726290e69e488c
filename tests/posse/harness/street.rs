//! Houses on one street: each machine behind a router of its own that translates addresses and lets
//! nobody in. The trackers are on the street.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::network::{ip, nft};
use super::{ClientProcess, World};

/// How a router chooses the outside port of a connection from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Router {
    /// The inside one, whomever the connection leads to.
    EndpointIndependent,
    /// Another for each connection.
    Symmetric,
}

impl Router {
    /// Nothing comes in but what belongs to a connection from inside.
    fn rules(self) -> String {
        let how = match self {
            Self::EndpointIndependent => "masquerade",
            Self::Symmetric => "masquerade random,fully-random",
        };
        format!(
            "table ip nat {{ \
             chain out {{ type nat hook postrouting priority 100; oifname \"eth0\" {how}; }}; \
             chain in {{ type filter hook input priority 0; \
                         iifname \"eth0\" ct state new drop; }}; \
             counter dials {{ }}; \
             chain through {{ type filter hook forward priority 0; \
                              iifname \"eth0\" ct state new drop; }}; }}"
        )
    }
}

/// A street: a bridge of this namespace; removed when dropped, with its houses.
#[derive(Debug)]
pub(crate) struct Street {
    bridge: String,
    net: [u8; 3],
    /// Namespaces of a router and of the machine behind it.
    houses: Vec<[String; 2]>,
}

impl Street {
    /// Builds one with these houses. Without the permission it prints the reason and returns none.
    pub(crate) fn build(routers: &[Router]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bridge = format!("ps{pid}n{number}");
        let house = |house| ["r", "m"].map(|part| format!("posse-s{pid}-{number}{part}{house}"));
        let houses = (0..routers.len()).map(house).collect();
        let net = [10, (pid % 120) as u8 + 100, 200 + number as u8];
        let street = Self { bridge, net, houses };
        match street.furnish(routers) {
            Ok(()) => Some(street),
            Err(why) => {
                eprintln!("SKIPPED: no street can be made here: {why}");
                None
            }
        }
    }

    fn furnish(&self, routers: &[Router]) -> Result<(), String> {
        let bridge = self.bridge.as_str();
        let with_prefix = |last| format!("{}/24", self.address(last));
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &with_prefix(1), "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        for (number, ([router, machine], kind)) in (0..).zip(self.houses.iter().zip(routers)) {
            let port = format!("{bridge}h{number}");
            [router, machine].into_iter().try_for_each(|name| {
                ip(&["netns", "add", name])?;
                ip(&["-n", name, "link", "set", "lo", "up"])
            })?;
            let pair = ["type", "veth", "peer", "name", "eth0", "netns"];
            ip(&[&["link", "add", &port], &pair[..], &[router]].concat())?;
            ip(&["link", "set", &port, "master", bridge, "up"])?;
            ip(&["-n", router, "addr", "add", &with_prefix(10 + number), "dev", "eth0"])?;
            ip(&["-n", router, "link", "set", "eth0", "up"])?;
            ip(&[&["-n", router, "link", "add", "lan0"], &pair[..], &[machine]].concat())?;
            ip(&["-n", router, "addr", "add", "192.168.77.1/24", "dev", "lan0"])?;
            ip(&["-n", router, "link", "set", "lan0", "up"])?;
            // The same in each house, as in life.
            ip(&["-n", machine, "addr", "add", "192.168.77.10/24", "dev", "eth0"])?;
            ip(&["-n", machine, "link", "set", "eth0", "up"])?;
            ip(&["-n", machine, "route", "add", "default", "via", "192.168.77.1"])?;
            nft(router, &kind.rules())?;
        }
        Ok(())
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last).into()
    }

    /// Counts from now on the packets with which a house begins connections, but for those to the
    /// tracker.
    pub(crate) fn count_dials(&self, house: u8, tracker: SocketAddr) {
        let rule = format!(
            "add rule ip nat through oifname \"eth0\" tcp flags & (syn | ack) == syn \
             tcp dport != {} counter name dials",
            tracker.port()
        );
        nft(&self.houses[usize::from(house)][0], &rule).unwrap();
    }

    /// How many there were.
    pub(crate) fn dials(&self, house: u8) -> usize {
        let router = &self.houses[usize::from(house)][0];
        let list = ["netns", "exec", router, "nft", "list", "counter", "ip", "nat", "dials"];
        let said = Command::new("ip").args(list).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let count = said.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    }

    /// The address of this namespace, at which the trackers are.
    pub(crate) fn here(&self) -> IpAddr {
        self.address(1)
    }

    /// The outside address of a house.
    pub(crate) fn outside(&self, house: u8) -> IpAddr {
        self.address(10 + house)
    }

    /// The trackers' file as all on the street use it; the trackers are to listen at every address.
    pub(crate) fn info(&self, world: &World) -> PathBuf {
        let text = std::fs::read_to_string(&world.info).unwrap();
        let path = world.path().join(format!("{}.txt", self.bridge));
        std::fs::write(&path, text.replace("127.0.0.1", &self.here().to_string())).unwrap();
        path
    }

    /// Starts a client in a house.
    pub(crate) fn client(&self, house: u8, home: &Path, info: &Path) -> ClientProcess {
        let net = format!("--net=/run/netns/{}", self.houses[usize::from(house)][1]);
        let wrapper = ["nsenter", net.as_str(), "--"];
        let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        ClientProcess::start_through(&wrapper, home, listen, info, &[])
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        for name in self.houses.iter().flatten() {
            let _ = ip(&["netns", "delete", name]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}
