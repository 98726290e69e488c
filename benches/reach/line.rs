//! A direct link to compare with: two machines at the ends of a line of routers that neither
//! translate nor refuse anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::network::{forward, info_of, ip};
use crate::harness::{ClientProcess, World};

/// The segment that joins the first router with this namespace.
const SIDE: u8 = 15;

/// Network namespaces in a line; removed when dropped.
pub(crate) struct Line {
    near: String,
    net: [u8; 3],
    /// The first and the last are machines, the others routers.
    names: Vec<String>,
}

impl Line {
    /// Lays one with so many routers. Without the permission it prints the reason and returns none.
    pub(crate) fn lay(routers: u8) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = (0..routers + 2).map(|index| format!("posse-d{pid}-{number}-{index}"));
        let line = Self {
            near: format!("pd{pid}n{number}"),
            net: [10, (pid % 100) as u8, (100 + number % 150) as u8],
            names: names.collect(),
        };
        match line.furnish() {
            Ok(()) => Some(line),
            Err(why) => {
                eprintln!("SKIPPED: no line of routers can be made here: {why}");
                None
            }
        }
    }

    fn furnish(&self) -> Result<(), String> {
        for name in &self.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            forward(name)?;
        }
        for (segment, pair) in (0..).zip(self.names.windows(2)) {
            let [left, right] = pair else { unreachable!("a window has two") };
            let veth = ["type", "veth", "peer", "name", "left", "netns", right];
            ip(&[&["-n", left, "link", "add", "right"], &veth[..]].concat())?;
            for (name, device, end) in [(left, "right", 1), (right, "left", 2)] {
                let address = format!("{}/30", self.address(segment, end));
                ip(&["-n", name, "addr", "add", &address, "dev", device])?;
                ip(&["-n", name, "link", "set", device, "up"])?;
            }
        }
        self.join_here()?;
        let segments = self.names.len() as u8 - 1;
        for (index, name) in (0..).zip(&self.names) {
            let route = |to: &str, via: Ipv4Addr| {
                ip(&["-n", name, "route", "add", to, "via", &via.to_string()])
            };
            match index {
                0 => route("default", self.address(0, 2))?,
                1 => {}
                _ => route("default", self.address(index - 1, 1))?,
            }
            for segment in (index + 1..segments).filter(|_| index > 0) {
                let to = format!("{}/30", self.address(segment, 0));
                route(&to, self.address(index, 2))?;
            }
        }
        Ok(())
    }

    /// Joins this namespace, where the trackers are, with the first router.
    fn join_here(&self) -> Result<(), String> {
        let (near, router) = (self.near.as_str(), self.names[1].as_str());
        let [here, there] = [1, 2].map(|end| format!("{}/30", self.address(SIDE, end)));
        ip(&["link", "add", near, "type", "veth", "peer", "name", "side", "netns", router])?;
        ip(&["addr", "add", &here, "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", router, "addr", "add", &there, "dev", "side"])?;
        ip(&["-n", router, "link", "set", "side", "up"])?;
        let [a, b, c] = self.net;
        let (all, via) = (format!("{a}.{b}.{c}.0/24"), self.address(SIDE, 2).to_string());
        ip(&["route", "add", &all, "via", &via, "dev", near])
    }

    /// An end of a segment: 1 on the left, 2 on the right.
    fn address(&self, segment: u8, end: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, 4 * segment + end)
    }

    /// The trackers' file as both machines use it.
    pub(crate) fn info(&self, world: &World) -> PathBuf {
        info_of(world, &self.near, IpAddr::from(self.address(SIDE, 1)))
    }

    /// Starts a client on the first machine, or the last.
    pub(crate) fn client(&self, is_last: bool, home: &Path, info: &Path) -> ClientProcess {
        let name = &self.names[if is_last { self.names.len() - 1 } else { 0 }];
        let net = format!("--net=/run/netns/{name}");
        let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        ClientProcess::start_through(&["nsenter", &net, "--"], home, listen, info, &[])
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.near]);
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}
