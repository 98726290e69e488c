//! A machine of its own at the end of a cable: a network namespace whose address and cable a test
//! changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ClientProcess, World};

/// A network namespace, joined to this one by a cable; removed when dropped.
#[derive(Debug)]
pub(crate) struct Cable {
    name: String,
    /// The end of the cable on this side.
    near: String,
    net: [u8; 3],
}

impl Cable {
    /// Lays one. Without the permission it prints the reason and returns none.
    pub(crate) fn lay() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (name, near) = (format!("posse-t{pid}-{number}"), format!("pt{pid}n{number}"));
        let cable = Self { name, near, net: [10, (pid % 120) as u8 + 100, number as u8 + 1] };
        let (name, near) = (cable.name.as_str(), cable.near.as_str());
        let add = ["link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name];
        let laid = ip(&["netns", "add", name])
            .and_then(|()| ip(&add))
            .and_then(|()| ip(&["addr", "add", &cable.with_prefix(1), "dev", near]))
            .and_then(|()| ip(&["link", "set", near, "up"]))
            .and_then(|()| ip(&["-n", name, "link", "set", "lo", "up"]))
            .and_then(|()| ip(&["-n", name, "addr", "add", &cable.with_prefix(2), "dev", "eth0"]))
            .and_then(|()| ip(&["-n", name, "link", "set", "eth0", "up"]));
        match laid {
            Ok(()) => Some(cable),
            Err(why) => {
                eprintln!("SKIPPED: no network namespace can be made here: {why}");
                None
            }
        }
    }

    /// This side's address.
    pub(crate) fn here(&self) -> IpAddr {
        self.address(1)
    }

    /// The address of the machine at the other end, at first.
    pub(crate) fn there(&self) -> IpAddr {
        self.address(2)
    }

    /// The address of that machine after [`Cable::change_address`].
    pub(crate) fn there_now(&self) -> IpAddr {
        self.address(3)
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last).into()
    }

    fn with_prefix(&self, last: u8) -> String {
        format!("{}/24", self.address(last))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives both ends an IPv6 address, too; returns this side's and the other's. Where there is no
    /// IPv6 it prints the reason and returns none.
    pub(crate) fn add_ipv6(&self) -> Option<(IpAddr, IpAddr)> {
        let [a, b, c] = self.net.map(u16::from);
        let address = |last| Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, last);
        let add = |network: &[&str], last: u16, device: &str| {
            let address = format!("{}/64", address(last));
            ip(&[network, &["-6", "addr", "add", &address, "dev", device, "nodad"]].concat())
        };
        let added = add(&[], 1, &self.near).and_then(|()| add(&["-n", &self.name], 2, "eth0"));
        match added {
            Ok(()) => Some((address(1).into(), address(2).into())),
            Err(why) => {
                eprintln!("SKIPPED: there is no IPv6 here: {why}");
                None
            }
        }
    }

    /// Takes the IPv4 address of the machine at the other end.
    pub(crate) fn remove_ipv4(&self) {
        ip(&["-n", &self.name, "addr", "del", &self.with_prefix(2), "dev", "eth0"]).unwrap();
    }

    /// Gives the machine at the other end another address.
    pub(crate) fn change_address(&self) {
        let name = self.name.as_str();
        ip(&["-n", name, "addr", "del", &self.with_prefix(2), "dev", "eth0"]).unwrap();
        ip(&["-n", name, "addr", "add", &self.with_prefix(3), "dev", "eth0"]).unwrap();
    }

    /// Moves the machine at the other end into another network: another prefix, and a router on this
    /// side, behind which everything of before is. Returns its address there.
    pub(crate) fn change_network(&self) -> IpAddr {
        let [a, b, c] = self.net;
        let at = |last: u8| Ipv4Addr::new(a, b, c + 100, last);
        let (name, router) = (self.name.as_str(), at(1).to_string());
        ip(&["addr", "add", &format!("{router}/24"), "dev", &self.near]).unwrap();
        ip(&["-n", name, "addr", "del", &self.with_prefix(2), "dev", "eth0"]).unwrap();
        ip(&["-n", name, "addr", "add", &format!("{}/24", at(2)), "dev", "eth0"]).unwrap();
        ip(&["-n", name, "route", "add", "default", "via", &router]).unwrap();
        at(2).into()
    }

    /// Pulls the cable out, or plugs it in.
    pub(crate) fn plug(&self, is_in: bool) {
        ip(&["link", "set", &self.near, if is_in { "up" } else { "down" }]).unwrap();
    }

    /// The trackers' file as both ends use it; the trackers are to listen at every address.
    pub(crate) fn info(&self, world: &World) -> PathBuf {
        self.info_at(world, self.here())
    }

    /// The same, with the trackers at that address.
    pub(crate) fn info_at(&self, world: &World, address: IpAddr) -> PathBuf {
        info_of(world, &self.near, address)
    }

    /// Starts a client at the other end.
    pub(crate) fn client(&self, home: &Path, listen: IpAddr, info: &Path) -> ClientProcess {
        let net = format!("--net=/run/netns/{}", self.name);
        let wrapper = ["nsenter", net.as_str(), "--"];
        ClientProcess::start_through(&wrapper, home, SocketAddr::new(listen, 0), info, &[])
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.near]);
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// The trackers' file of those who reach the trackers at that address.
pub(crate) fn info_of(world: &World, name: &str, address: IpAddr) -> PathBuf {
    let host = match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let text = std::fs::read_to_string(&world.info).unwrap();
    let path = world.path().join(format!("{name}.txt"));
    std::fs::write(&path, text.replace("127.0.0.1", &host)).unwrap();
    path
}

/// Loads rules into a network namespace, and lets it forward.
pub(super) fn nft(name: &str, rules: &str) -> Result<(), String> {
    forward(name)?;
    ip(&["netns", "exec", name, "nft", rules])
}

/// Lets a network namespace forward.
pub(crate) fn forward(name: &str) -> Result<(), String> {
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    ip(&["netns", "exec", name, "sh", "-c", forward])
}

pub(crate) fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {said}", words.join(" "))) }
}
