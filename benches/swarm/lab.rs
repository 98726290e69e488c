//! A network of its own: a switch, and nodes on cables of limited speed, each a network namespace.
//!
//! **Invariant:** everything is in namespaces whose names begin with [`PREFIX`] and this process's
//! id, and dropping a [`Lab`] removes them; what a run left behind that was killed is removed by
//! the next one. Nothing outside these namespaces is touched.
//!
//! The switch is a namespace that routes between the nodes and runs the tracker, uncapped. (A
//! bridge would do as well, if each node did not have to know the others' link addresses then:
//! Linux keeps no more than 1,024 of them for all namespaces together, and 33 nodes need 1,056;
//! what is beyond waits in vain.) A node has one interface, whose egress goes through a token
//! bucket (`tc tbf`): what it sends is limited, headers and all, what it receives only by what the
//! others send. The bucket holds [`BURST`], so that the large packets of segmentation offload pass
//! as they are, and lets [`QUEUE_MS`] of data wait: a home router's queue rather than none, and
//! less than what would be a second of delay.
//!
//! Blocks for as long as `ip` and `tc` take, a few ms each.

use std::process::{Command, Output};

use crate::support::{Failure, Result};

/// What the names of all namespaces begin with; the process's id follows.
const PREFIX: &str = "posse-lab-";
/// Bytes that a bucket holds: two large packets, 0.1 % of the smallest file measured.
const BURST: &str = "128kb";
/// How long data may wait in front of the bucket.
const QUEUE_MS: u32 = 50;
/// The nodes' network.
const NET: &str = "10.213";

/// The switch and its nodes.
pub(crate) struct Lab {
    id: u32,
    nodes: usize,
}

impl Lab {
    /// Tells what is missing to make namespaces, cables and token buckets, if anything is: it tries
    /// with one node.
    pub(crate) fn missing() -> Option<String> {
        for (program, argument) in [("ip", "-V"), ("tc", "-V")] {
            if Command::new(program).arg(argument).output().is_err() {
                return Some(format!("`{program}` is not installed (iproute2)"));
            }
        }
        match remove_dead().and_then(|()| Self::new()).and_then(|mut lab| lab.add(1_000_000)) {
            Ok(_) => None,
            Err(e) => Some(format!(
                "network namespaces with capped nodes cannot be made here (root, veth and tbf are needed): {e}"
            )),
        }
    }

    /// Makes the switch.
    pub(crate) fn new() -> Result<Self> {
        let lab = Self { id: std::process::id(), nodes: 0 };
        let switch = lab.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            &switch,
            "address",
            "add",
            &format!("{}/32", lab.tracker_address()),
            "dev",
            "lo",
        ])?;
        ip(&["netns", "exec", &switch, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        Ok(lab)
    }

    /// Adds a node that sends at most `rate` bytes a second; returns its number.
    pub(crate) fn add(&mut self, rate: u64) -> Result<usize> {
        let number = self.nodes;
        self.nodes += 1;
        let (switch, name, port) = (self.switch(), self.node(number), port(number));
        ip(&["netns", "add", &name])?;
        ip(&[
            "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
            &name,
        ])?;
        ip(&["-n", &switch, "link", "set", &port, "up"])?;
        ip(&["-n", &switch, "route", "add", &self.address(number), "dev", &port])?;
        ip(&[
            "-n",
            &name,
            "address",
            "add",
            &format!("{}/32", self.address(number)),
            "dev",
            "eth0",
        ])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "route", "add", &self.tracker_address(), "dev", "eth0"])?;
        ip(&["-n", &name, "route", "add", "default", "via", &self.tracker_address()])?;
        let (rate, queue) = (format!("{}bit", rate * 8), format!("{QUEUE_MS}ms"));
        tool(
            "tc",
            &[
                "-n", &name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst",
                BURST, "latency", &queue,
            ],
        )?;
        Ok(number)
    }

    /// The namespace of the switch.
    pub(crate) fn switch(&self) -> String {
        format!("{PREFIX}{}-switch", self.id)
    }

    /// The address of the switch, where the trackers are.
    pub(crate) fn tracker_address(&self) -> String {
        format!("{NET}.0.1")
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, number: usize) -> String {
        format!("{PREFIX}{}-{number}", self.id)
    }

    /// The address of a node.
    pub(crate) fn address(&self, number: usize) -> String {
        format!("{NET}.{}.{}", 1 + number / 200, 1 + number % 200)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The interfaces go with their namespaces.
        let names = (0..self.nodes).map(|number| self.node(number)).chain([self.switch()]);
        names.for_each(|name| _ = ip(&["netns", "delete", &name]));
    }
}

/// The switch's interface to a node.
pub(crate) fn port(number: usize) -> String {
    format!("port{number}")
}

/// Removes the namespaces of runs that are over, and could not remove them themselves.
fn remove_dead() -> Result<()> {
    let list = ip(&["netns", "list"])?;
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
        let id = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|id| id.parse::<u32>().ok());
        if id.is_some_and(|id| !std::path::Path::new(&format!("/proc/{id}")).exists()) {
            ip(&["netns", "delete", name])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<Output> {
    tool("ip", arguments)
}

fn tool(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::from(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}
