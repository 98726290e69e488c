//! A network of trackers in a directory of its own, and clients with a home each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use posse::trust::KeyPair;
use tempfile::TempDir;

use super::client::command;
use super::gate::Forwarder;
use super::{ClientProcess, Content, Finished, Gate, Process, TrackerProcess, eventually};

/// How long a script may take.
const SCRIPT: Duration = Duration::from_secs(120);

/// The network's key, in a world's directory.
const NETWORK_KEY: &str = "network.key";

/// Finds a port below the range from which the system takes ports for outgoing connections, so that
/// it stays free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset =
            std::process::id().wrapping_mul(211).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (offset % 20_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Trackers and a place for clients. Make clients after it, so that they end before it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) trackers: Vec<TrackerProcess>,
    pub(crate) info: PathBuf,
    /// The line that names the network, if there is to be one.
    network: String,
    forwarders: Vec<Forwarder>,
    dir: TempDir,
}

impl World {
    /// Starts `count` trackers that know each other, and waits until their links are up. The file
    /// that names them names the network too.
    pub(crate) fn new(count: usize) -> Self {
        Self::start(count, true, &[], |_| ())
    }

    /// Does the same with a file that names no network: clients trust the first that they meet.
    pub(crate) fn of_unnamed_network(count: usize) -> Self {
        Self::start(count, false, &[], |_| ())
    }

    /// Gives the trackers further options.
    pub(crate) fn with_options(count: usize, options: &[&str]) -> Self {
        Self::start(count, true, options, |_| ())
    }

    /// Has the directory prepared before trackers start in it, each in a directory of its own:
    /// `tracker1` and so on.
    pub(crate) fn prepared(count: usize, prepare: impl FnOnce(&Path)) -> Self {
        Self::start(count, true, &[], prepare)
    }

    /// Starts a tracker of each of these builds.
    pub(crate) fn of_programs(programs: &[PathBuf]) -> Self {
        Self::start_programs(programs, true, &[], |_| ())
    }

    fn start(count: usize, named: bool, options: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::start_programs(
            &vec![PathBuf::from(env!("CARGO_BIN_EXE_tracker")); count],
            named,
            options,
            prepare,
        )
    }

    fn start_programs(
        programs: &[PathBuf],
        named: bool,
        options: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let count = programs.len();
        let dir = tempfile::Builder::new()
            .prefix("posse-test-")
            .tempdir()
            .expect("a temporary directory can be made");
        let (key, _) =
            KeyPair::load_or_make(&dir.path().join(NETWORK_KEY)).expect("a key can be made");
        let network =
            if named { format!("network {}\n", key.fingerprint()) } else { String::new() };
        let lines: String = (0..count).map(|_| format!("127.0.0.1:{}\n", free_port())).collect();
        let info = dir.path().join("tracker_info.txt");
        std::fs::write(&info, format!("{network}{lines}")).expect("a file can be written");
        let data = |number: usize| dir.path().join(format!("tracker{number}"));
        let key = dir.path().join(NETWORK_KEY);
        prepare(dir.path());
        let trackers = (1..)
            .zip(programs)
            .map(|(number, program)| {
                TrackerProcess::start_program(program, &info, number, &data(number), &key, options)
            })
            .collect();
        let mut world = Self { trackers, info, network, forwarders: Vec::new(), dir };
        world.wait_synced();
        world
    }

    /// The directory that holds everything.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The file that holds the network's key.
    pub(crate) fn network_key(&self) -> PathBuf {
        self.path().join(NETWORK_KEY)
    }

    /// The home of a client; it is made if need be.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        let home = self.dir.path().join(name);
        std::fs::create_dir_all(&home).expect("a directory can be made");
        home
    }

    /// Puts a file into a client's home.
    pub(crate) fn put(&self, name: &str, content: &Content) -> PathBuf {
        let path = self.home(name).join(&content.name);
        content.write(&path);
        path
    }

    /// The address of a tracker, numbered from 1.
    pub(crate) fn tracker(&self, number: usize) -> SocketAddr {
        self.trackers[number - 1].address
    }

    /// Starts a client that answers in JSON.
    pub(crate) fn client(&self, name: &str) -> ClientProcess {
        ClientProcess::start(&self.home(name), any_port(), &self.info, true)
    }

    /// Starts a client that answers in JSON, with further options.
    pub(crate) fn client_with(&self, name: &str, options: &[&str]) -> ClientProcess {
        ClientProcess::start_with(&self.home(name), any_port(), &self.info, true, options)
    }

    /// Starts a client that answers plainly.
    pub(crate) fn plain(&self, name: &str) -> ClientProcess {
        ClientProcess::start(&self.home(name), any_port(), &self.info, false)
    }

    /// Starts a client that answers in JSON, whose links pass a gate.
    pub(crate) fn gated(&mut self, name: &str) -> (ClientProcess, Gate) {
        let (client, door) = self.hidden(name);
        let gate = Gate::open();
        self.forwarders.push(Forwarder::start(door, client.address, None, gate.clone()));
        (client, gate)
    }

    /// Starts a client that answers in JSON and seems to be where nothing listens.
    pub(crate) fn hidden(&mut self, name: &str) -> (ClientProcess, SocketAddr) {
        let (inner, outer) = two_addresses();
        let home = self.home(name);
        let info = home.join("tracker_info.txt");
        let forwarders: Vec<Forwarder> = (1..=self.trackers.len())
            .map(|number| {
                Forwarder::start(
                    SocketAddr::new(outer, 0),
                    self.tracker(number),
                    Some(outer),
                    Gate::open(),
                )
            })
            .collect();
        let lines: String =
            forwarders.iter().map(|forwarder| format!("{}\n", forwarder.address)).collect();
        std::fs::write(&info, format!("{}{lines}", self.network)).expect("a file can be written");
        self.forwarders.extend(forwarders);
        let client = ClientProcess::start(&home, SocketAddr::new(inner, 0), &info, true);
        let door = SocketAddr::new(outer, client.address.port());
        (client, door)
    }

    /// Starts a process of a client with further arguments.
    pub(crate) fn spawn(&self, name: &str, args: &[&str]) -> Process {
        Process::spawn(&format!("client {name}"), &mut self.command(name, args))
    }

    /// The command line of a client with further arguments.
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = command(&self.home(name), any_port(), &self.info);
        command.args(args);
        command
    }

    /// Runs a client to its end with these lines on stdin.
    #[track_caller]
    pub(crate) fn script(&self, name: &str, args: &[&str], lines: &[&str]) -> Finished {
        let mut process = self.spawn(name, args);
        // A script that stops early does not read the rest.
        let _ = process.send_bytes((lines.join("\n") + "\n").as_bytes());
        process.finish(SCRIPT)
    }

    /// Waits until every tracker that runs says that it sees every other one up, and all
    /// directories are the same.
    #[track_caller]
    pub(crate) fn wait_synced(&mut self) {
        eventually("the trackers are up for each other and hold the same directory", || {
            let states: Vec<_> = self.trackers.iter_mut().map(TrackerProcess::status).collect();
            states
                .iter()
                .all(|s| !s.is_degraded() && s.directory() == states[0].directory())
                .then_some(())
        });
    }

    /// A world in which bob has fetched so many bytes of a file of 16 MiB that nik offers, and no more
    /// comes until the gate lets it through.
    #[track_caller]
    pub(crate) fn half_fetched(
        trackers: usize,
        allowed: u64,
    ) -> (Self, Content, ClientProcess, Gate, ClientProcess) {
        let mut world = Self::new(trackers);
        world.group("lab", &["nik", "bob"]);
        let content = Content::new("big.bin", 16 << 20, 812);
        world.put("nik", &content);
        let (mut nik, gate) = world.gated("nik");
        let mut bob = world.client("bob");
        nik.login("nik");
        nik.ok("upload_file big.bin lab", &[]);
        bob.login("bob");
        gate.allow(allowed);
        bob.ok("download_file lab big.bin", &[]);
        gate.wait_passed(allowed);
        (world, content, nik, gate, bob)
    }

    /// Makes `group`, owned by the first of `users`, with all of them as members, by hand; their
    /// passwords are `pw-` and the name.
    #[track_caller]
    pub(crate) fn group(&self, group: &str, users: &[&str]) {
        use posse::types::Change;
        let mut sessions: Vec<_> =
            users.iter().map(|user| super::RawClient::enter(self.tracker(1), user)).collect();
        let (owner, others) = sessions.split_first_mut().expect("a group has an owner");
        let id = owner.create_group(group);
        for other in others {
            let asked = other.change(super::request_id(), &Change::JoinGroup { group: id });
            asked.expect("the tracker answers");
            let posse::wire::tracker::Reply::User(user) =
                other.ask(posse::wire::tracker::Request::WhoAmI).expect("the tracker answers")
            else {
                panic!("the tracker does not know who asks")
            };
            let accepted = owner
                .change(super::request_id(), &Change::AcceptRequest { group: id, user: user.user });
            assert!(matches!(
                accepted.expect("the tracker answers"),
                posse::wire::tracker::Reply::Done(_)
            ));
        }
    }
}

/// Any free port of the usual loopback address.
pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Two addresses of the loopback network that no other client uses.
pub(crate) fn two_addresses() -> (IpAddr, IpAddr) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(2, Ordering::Relaxed) % 250;
    let network = (std::process::id() % 200 + 10) as u8;
    let address = |last: u32| IpAddr::from([127, network, 7, last as u8 + 1]);
    (address(number), address(number + 1))
}
