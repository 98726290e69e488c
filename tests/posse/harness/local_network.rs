//! Machines on one local network, of which this process is a part: network namespaces on a bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::network::{ip, nft};
use super::{ClientProcess, World};

/// A bridge with an address of this machine, and machines on it; removed when dropped.
#[derive(Debug)]
pub(crate) struct LocalNetwork {
    bridge: String,
    net: [u8; 3],
    machines: Vec<String>,
}

impl LocalNetwork {
    /// Builds one. Without the permission it prints the reason and returns none.
    pub(crate) fn build(machines: u8) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = (0..machines).map(|machine| format!("posse-l{pid}-{number}-{machine}"));
        let network = Self {
            bridge: format!("pl{pid}n{number}"),
            net: [10, (pid % 100) as u8, number as u8 + 1],
            machines: names.collect(),
        };
        match network.furnish() {
            Ok(()) => Some(network),
            Err(why) => {
                eprintln!("SKIPPED: no local network can be made here: {why}");
                None
            }
        }
    }

    fn furnish(&self) -> Result<(), String> {
        let bridge = self.bridge.as_str();
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", self.here()), "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        for (number, name) in (0..).zip(&self.machines) {
            let port = format!("{bridge}p{number}");
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            ip(&["link", "set", &port, "master", bridge, "up"])?;
            let address = format!("{}/24", self.address(number));
            ip(&["-n", name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// This machine's address on the network.
    pub(crate) fn here(&self) -> IpAddr {
        self.at(1)
    }

    /// The address of another machine, at first.
    pub(crate) fn address(&self, number: u8) -> IpAddr {
        self.at(10 + number)
    }

    fn at(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last).into()
    }

    /// Gives a machine another address, as after a night without a router; returns it.
    pub(crate) fn change_address(&self, number: u8) -> IpAddr {
        let (name, new) = (self.name(number), self.at(110 + number));
        let old = format!("{}/24", self.address(number));
        ip(&["-n", name, "addr", "del", &old, "dev", "eth0"]).unwrap();
        ip(&["-n", name, "addr", "add", &format!("{new}/24"), "dev", "eth0"]).unwrap();
        new
    }

    /// Gives a machine an IPv6 address, too, and lets it send no IPv4 multicast; returns the address.
    /// Where there is no IPv6 it prints the reason and returns none.
    pub(crate) fn turn_to_ipv6(&self, number: u8) -> Option<IpAddr> {
        let [a, b, c] = self.net.map(u16::from);
        let (name, address) =
            (self.name(number), Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, 10 + u16::from(number)));
        let with_prefix = format!("{address}/64");
        let added = ip(&["-n", name, "-6", "addr", "add", &with_prefix, "dev", "eth0", "nodad"]);
        let rules = "table inet still { chain o { type filter hook output priority 0; \
                     ip daddr 224.0.0.0/4 drop; }; }";
        match added.and_then(|()| nft(name, rules)) {
            Ok(()) => Some(address.into()),
            Err(why) => {
                eprintln!("SKIPPED: there is no IPv6 here: {why}");
                None
            }
        }
    }

    /// Gives a machine one more address, as when a cable is put into another socket.
    pub(crate) fn add_address(&self, number: u8) {
        let new = format!("{}/24", self.at(210 + number));
        ip(&["-n", self.name(number), "addr", "add", &new, "dev", "eth0"]).unwrap();
    }

    /// Lets no TCP pass between a machine and an address: the one is told so, or hears nothing.
    /// Returns what `heal` takes.
    pub(crate) fn cut(&self, number: u8, from: IpAddr, is_told: bool) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let table = format!("cut{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let ends = if is_told { "reject with tcp reset" } else { "drop" };
        // The reset that tells comes from that address, too.
        let rules = format!(
            "table inet {table} {{ \
             chain i {{ type filter hook input priority 0; ip saddr {from} tcp flags & rst == 0 drop; }}; \
             chain o {{ type filter hook output priority 0; ip daddr {from} meta l4proto tcp {ends}; }}; }}"
        );
        nft(self.name(number), &rules).unwrap();
        table
    }

    /// Lets pass again what was cut.
    pub(crate) fn heal(&self, number: u8, cut: &str) {
        nft(self.name(number), &format!("delete table inet {cut}")).unwrap();
    }

    /// The trackers' file as all of them use it; the trackers are to listen at every address.
    pub(crate) fn info(&self, world: &World) -> PathBuf {
        let text = std::fs::read_to_string(&world.info).unwrap();
        let path = world.path().join(format!("{}.txt", self.bridge));
        std::fs::write(&path, text.replace("127.0.0.1", &self.here().to_string())).unwrap();
        path
    }

    /// Starts a client on a machine.
    pub(crate) fn client(
        &self,
        number: u8,
        home: &Path,
        info: &Path,
        options: &[&str],
    ) -> ClientProcess {
        let net = format!("--net=/run/netns/{}", self.name(number));
        let wrapper = ["nsenter", net.as_str(), "--"];
        let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        ClientProcess::start_through(&wrapper, home, listen, info, options)
    }

    fn name(&self, number: u8) -> &str {
        &self.machines[usize::from(number)]
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        for name in &self.machines {
            let _ = ip(&["netns", "delete", name]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}
