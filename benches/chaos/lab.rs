//! Each tracker's machine: a network namespace, joined to the others and to the clients by a
//! bridge.
//!
//! **Invariant:** everything is in namespaces whose names begin with [`PREFIX`] and this process's
//! id, and dropping a [`Lab`] removes them. What a killed run left behind is removed by the next
//! one. Nothing outside these namespaces is touched.
//!
//! The *hub* is a namespace that holds the bridge and the clients. Each client has an address of
//! its own there. Packets are lost at the end that is to receive them, by rules of `nft`. Blocks
//! for as long as `ip`, `tc` and `nft` take, a few ms each.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::schedule::{Node, Tool, Way};
use crate::support::{Process, Result};

/// What the names of all namespaces and mounts begin with; the process's id follows.
pub(crate) const PREFIX: &str = "posse-chaos-";
/// The network of trackers and clients.
const NET: &str = "10.214.0";
/// Smallest, first and largest size of a TCP buffer where buffers are to be full soon, in bytes.
const SMALL_BUFFERS: &str = "4096 8192 16384";
/// Bytes that a token bucket holds: a few full packets.
const BURST: &str = "8kb";
/// How long packets wait at a slow link before they are dropped.
const QUEUE: &str = "3s";

/// The namespaces.
#[derive(Debug)]
pub(crate) struct Lab {
    trackers: usize,
}

/// Tells why no namespaces can be made here, if so: it tries with one tracker.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    for program in ["ip", "nsenter", "setpriv"] {
        if !is_installed(program) {
            return Some(format!("`{program}` is not installed"));
        }
    }
    let clean = remove_dead().and_then(|()| crate::disk::remove_dead());
    let made = clean.and_then(|()| Lab::new(1, 1, false));
    made.err().map(|e| format!("network namespaces cannot be made here: {e}"))
}

/// Tells which of the tools are not there.
pub(crate) fn missing_tools(tools: &[Tool]) -> Vec<&'static str> {
    let is_there = |tool: &Tool| match tool {
        Tool::Bindfs => is_installed("bindfs") && Path::new("/dev/fuse").exists(),
        Tool::Faketime => super::cluster::faketime_library().is_some(),
        Tool::Nft => is_installed("nft"),
        Tool::Tc => is_installed("tc"),
    };
    let name = |tool: &Tool| match tool {
        Tool::Bindfs => "bindfs",
        Tool::Faketime => "libfaketime",
        Tool::Nft => "nft",
        Tool::Tc => "tc",
    };
    tools.iter().filter(|tool| !is_there(tool)).map(name).collect()
}

fn is_installed(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("-V")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok()
}

impl Lab {
    /// Makes the hub with `clients` addresses and some more, and the trackers' namespaces.
    pub(crate) fn new(trackers: usize, clients: usize, small_buffers: bool) -> Result<Self> {
        let lab = Self { trackers };
        let hub = lab.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for address in (0..clients).map(client_address).chain((1..=trackers).map(reader_address)) {
            ip(&["-n", &hub, "address", "add", &format!("{address}/24"), "dev", "hub"])?;
        }
        for number in 1..=trackers {
            let (name, port) = (lab.namespace(number), port(number));
            ip(&["netns", "add", &name])?;
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &name,
            ])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "hub", "up"])?;
            ip(&[
                "-n",
                &name,
                "address",
                "add",
                &format!("{}/24", tracker_address(number)),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        if small_buffers {
            let set = |file| format!("echo {SMALL_BUFFERS} > /proc/sys/net/ipv4/{file}");
            let both = [set("tcp_rmem"), set("tcp_wmem")].join(" && ");
            for name in lab.names() {
                tool(&name, &["sh", "-c", &both], "")?;
            }
        }
        Ok(lab)
    }

    /// The namespace of the bridge and the clients.
    fn hub(&self) -> String {
        format!("{PREFIX}{}-hub", std::process::id())
    }

    /// The namespace of a tracker.
    fn namespace(&self, tracker: usize) -> String {
        format!("{PREFIX}{}-{tracker}", std::process::id())
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.trackers).map(|number| self.namespace(number)).chain([self.hub()])
    }

    /// Starts a program on the machine of a tracker, or of the clients. It is killed when the
    /// calling thread ends.
    pub(crate) fn start(
        &self,
        name: &str,
        tracker: Option<usize>,
        program: &[&str],
        dir: &Path,
    ) -> Result<Process> {
        let net = format!(
            "--net=/run/netns/{}",
            tracker.map_or_else(|| self.hub(), |number| self.namespace(number))
        );
        let before = ["--pdeathsig", "KILL", "nsenter", &net, "--"];
        Process::start(name, Path::new("setpriv"), &[&before[..], program].concat(), dir)
    }

    /// Loses packets in these directions and in no others.
    pub(crate) fn cut(&self, ways: &[Way]) -> Result<()> {
        for number in 1..=self.trackers {
            let here = ways.iter().filter(|way| way.to == Node::Tracker(number));
            let rules: String =
                here.map(|way| format!("ip saddr {} drop\n", address(way.from))).collect();
            filter(&self.namespace(number), &rules)?;
        }
        let to_clients = ways.iter().filter(|way| matches!(way.to, Node::Client(_)));
        let rule = |way: &Way| {
            format!("ip saddr {} ip daddr {} drop\n", address(way.from), address(way.to))
        };
        filter(&self.hub(), &to_clients.map(rule).collect::<String>())
    }

    /// Takes a tracker's cable out, or puts it in.
    pub(crate) fn plug(&self, tracker: usize, is_in: bool) -> Result<()> {
        ip(&["-n", &self.hub(), "link", "set", &port(tracker), if is_in { "up" } else { "down" }])
    }

    /// Limits a tracker's link to so many kbit/s in each direction, or not.
    pub(crate) fn throttle(&self, tracker: usize, kbits: Option<u32>) -> Result<()> {
        for (name, device) in
            [(self.namespace(tracker), "eth0".to_owned()), (self.hub(), port(tracker))]
        {
            match kbits.map(|kbits| format!("{kbits}kbit")) {
                Some(rate) => {
                    let bucket = ["tbf", "rate", &rate, "burst", BURST, "latency", QUEUE];
                    tool(
                        &name,
                        &[&["tc", "qdisc", "replace", "dev", &device, "root"][..], &bucket]
                            .concat(),
                        "",
                    )?;
                }
                None => tool(&name, &["tc", "qdisc", "delete", "dev", &device, "root"], "")?,
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The cables go with their namespaces. What fails is removed by the next run.
        self.names().for_each(|name| _ = ip(&["netns", "delete", &name]));
    }
}

fn port(tracker: usize) -> String {
    format!("port{tracker}")
}

/// The address of a tracker, from 1.
pub(crate) fn tracker_address(number: usize) -> String {
    format!("{NET}.{}", 10 + number)
}

/// The address of a client, from 0.
pub(crate) fn client_address(index: usize) -> String {
    format!("{NET}.{}", 100 + index)
}

/// The address of the client that reads one tracker's directory in the end.
pub(crate) fn reader_address(tracker: usize) -> String {
    format!("{NET}.{}", 50 + tracker)
}

fn address(node: Node) -> String {
    match node {
        Node::Tracker(number) => tracker_address(number),
        Node::Client(index) => client_address(index),
    }
}

/// Replaces the rules of a namespace; without rules there is no filter.
fn filter(namespace: &str, rules: &str) -> Result<()> {
    let fresh = "table inet chaos\ndelete table inet chaos\n";
    let chain = format!(
        "table inet chaos {{ chain input {{ type filter hook input priority 0;\n{rules}}}\n}}\n"
    );
    tool(
        namespace,
        &["nft", "-f", "-"],
        &[fresh, if rules.is_empty() { "" } else { &chain }].concat(),
    )
}

/// Removes the namespaces of runs that are over, and could not remove them themselves.
fn remove_dead() -> Result<()> {
    let list = Command::new("ip").args(["netns", "list"]).output()?;
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
        if is_of_dead_run(name) {
            ip(&["netns", "delete", name])?;
        }
    }
    Ok(())
}

/// Whether a name is that of something made by a run that is over.
pub(crate) fn is_of_dead_run(name: &str) -> bool {
    let id = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next())
        .and_then(|id| id.parse::<u32>().ok());
    id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
}

fn ip(arguments: &[&str]) -> Result<()> {
    check(
        Command::new("ip").args(arguments).stdin(Stdio::null()).output()?,
        &format!("ip {}", arguments.join(" ")),
    )
}

/// Runs a program in a namespace with that input.
fn tool(namespace: &str, words: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").args(words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    check(child.wait_with_output()?, &words.join(" "))
}

fn check(output: Output, words: &str) -> Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{words}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
