//! Machines behind one router that translates addresses: network namespaces on a bridge of their
//! own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::network::{ip, nft};
use super::{Cable, ClientProcess};

/// A router at the end of a cable, with machines behind it; removed when dropped.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) router: Cable,
    machines: Vec<String>,
}

impl House {
    /// Builds one. Without the permission it prints the reason and returns none.
    pub(crate) fn build(machines: u8) -> Option<Self> {
        let router = Cable::lay()?;
        let names = (0..machines).map(|number| format!("{}-m{number}", router.name())).collect();
        let house = Self { router, machines: names };
        match house.furnish() {
            Ok(()) => Some(house),
            Err(why) => {
                eprintln!("SKIPPED: no router can be made here: {why}");
                None
            }
        }
    }

    fn furnish(&self) -> Result<(), String> {
        let router = self.router.name();
        ip(&["-n", router, "link", "add", "lan0", "type", "bridge"])?;
        ip(&["-n", router, "addr", "add", &format!("{}/24", inside(1)), "dev", "lan0"])?;
        ip(&["-n", router, "link", "set", "lan0", "up"])?;
        for (number, name) in (0..).zip(&self.machines) {
            let port = format!("port{number}");
            let address = format!("{}/24", inside(10 + number));
            let gateway = inside(1).to_string();
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", name];
            ip(&[&["-n", router, "link", "add", &port], &pair[..]].concat())?;
            ip(&["-n", router, "link", "set", &port, "master", "lan0", "up"])?;
            ip(&["-n", name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
            ip(&["-n", name, "route", "add", "default", "via", &gateway])?;
        }
        // What it does not know, it sends out, where nobody forwards it.
        let outside = self.router.here().to_string();
        ip(&["-n", router, "route", "add", "default", "via", &outside])?;
        self.masquerade("masquerade")
    }

    /// Has the router translate addresses in that way.
    fn masquerade(&self, how: &str) -> Result<(), String> {
        let rules = format!(
            "table ip nat {{}}; flush table ip nat; table ip nat {{ chain out {{ type nat hook \
             postrouting priority 100; oifname \"eth0\" {how}; }}; }}"
        );
        nft(self.router.name(), &rules)
    }

    /// Has the router take another port outside for each address that is dialled, at random.
    pub(crate) fn make_symmetric(&self) {
        self.masquerade("masquerade random,fully-random").unwrap();
    }

    /// The address of a machine on the inside.
    pub(crate) fn address(&self, number: u8) -> IpAddr {
        inside(10 + number).into()
    }

    /// Starts a client on a machine inside.
    pub(crate) fn client(&self, number: u8, home: &Path, info: &Path) -> ClientProcess {
        self.client_with(number, home, info, &[])
    }

    /// The same with further options.
    pub(crate) fn client_with(
        &self,
        number: u8,
        home: &Path,
        info: &Path,
        options: &[&str],
    ) -> ClientProcess {
        let net = format!("--net=/run/netns/{}", self.machines[usize::from(number)]);
        let wrapper = ["nsenter", net.as_str(), "--"];
        let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        ClientProcess::start_through(&wrapper, home, listen, info, options)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for name in &self.machines {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn inside(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, last)
}
