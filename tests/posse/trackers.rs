//! Where trackers listen and where they keep their data: a tracker is known by its line, wherever
//! it listens, and finds its data again, wherever its line stands.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use posse::trust::KeyPair;
use tempfile::TempDir;

use crate::harness::{
    Finished, Forwarder, Gate, PATIENCE, Process, RawClient, TrackerProcess, World, eventually,
    free_port, set_home, two_addresses,
};

/// Waits until both trackers are up for each other and hold the same directory.
#[track_caller]
fn wait_synced(trackers: &mut [TrackerProcess; 2]) {
    eventually("the trackers are up for each other and hold the same directory", || {
        let [first, second] = trackers.each_mut().map(TrackerProcess::status);
        let synced = !first.is_degraded()
            && !second.is_degraded()
            && first.directory() == second.directory();
        synced.then_some(())
    });
}

#[test]
fn trackers_behind_port_forwarding_replicate_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = two_addresses();
    // Each line names the forwarder's address; the tracker listens at another address and port.
    let doors = [first, second].map(|ip| SocketAddr::new(ip, free_port()));
    let inner = ["127.0.0.1", "0.0.0.0"]
        .map(|ip| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), free_port()));
    let info = dir.path().join("tracker_info.txt");
    std::fs::write(&info, format!("{}\n{}\n", doors[0], doors[1])).unwrap();
    let key = dir.path().join("network.key");
    let _forwarders: Vec<Forwarder> = (0..2)
        .map(|index| {
            let target = SocketAddr::new([127, 0, 0, 1].into(), inner[index].port());
            Forwarder::start(doors[index], target, None, Gate::open())
        })
        .collect();
    let mut trackers = [0, 1].map(|index| {
        let data = dir.path().join(format!("tracker{index}"));
        // The second is given a port alone: every address.
        let listen = if index == 0 { inner[0].to_string() } else { inner[1].port().to_string() };
        let tracker = TrackerProcess::start(&info, index + 1, &data, &key, &["--listen", &listen]);
        assert_eq!(tracker.address, inner[index]);
        tracker
    });
    wait_synced(&mut trackers);
    RawClient::enter(doors[0], "nik");
    RawClient::enter(doors[1], "bob");
    wait_synced(&mut trackers);
    for tracker in &mut trackers {
        assert_eq!(tracker.status().0["users"], "2");
    }
}

#[test]
fn a_wrong_place_to_listen_is_refused_in_one_line() {
    for (listen, words) in [
        ("somewhere", "cannot listen at"),
        ("1:2:3", "give IP:PORT"),
        ("192.0.2.1:1024", "192.0.2.1:1024"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        let dir = tempfile::tempdir().unwrap();
        set_home(command.args(["127.0.0.1", "0", "--listen", listen]), dir.path());
        refuses(&Process::spawn("tracker", &mut command).finish(PATIENCE), &[words]);
    }
}

#[test]
fn a_stranger_who_comes_again_and_again_fills_one_line_of_the_log() {
    let mut world = World::new(1);
    let address = world.tracker(1);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Until the tracker has closed it.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    world.trackers[0].status();
    let lines = world.trackers[0].process().said().err;
    let warned = lines
        .iter()
        .filter(|line| line.contains("WARN") && line.contains("connection closed"))
        .count();
    assert_eq!(warned, 1, "{lines:#?}");
}

/// A machine with a home of its own, on which trackers keep their data where they do by default.
struct Machine {
    dir: TempDir,
    ports: [u16; 3],
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        KeyPair::load_or_make(&dir.path().join("data/posse/network.key")).unwrap();
        Self { dir, ports: [free_port(), free_port(), free_port()] }
    }

    /// Where the default directories are.
    fn root(&self) -> PathBuf {
        self.dir.path().join("data/posse")
    }

    /// The default directory of the tracker with that port.
    fn data(&self, port: u16) -> PathBuf {
        self.root().join(format!("tracker-127.0.0.1-{port}"))
    }

    /// Names the trackers with these ports in the file, and begins to start one of them.
    fn spawn(&self, ports: &[u16], number: usize, options: &[&str]) -> Process {
        let info = self.dir.path().join("tracker_info.txt");
        let lines: String = ports.iter().map(|port| format!("127.0.0.1:{port}\n")).collect();
        std::fs::write(&info, lines).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        set_home(command.arg(&info).arg(number.to_string()).args(options), self.dir.path());
        Process::spawn(&format!("tracker {number}"), &mut command)
    }

    /// Does so, and waits until it serves.
    fn start(&self, ports: &[u16], number: usize, options: &[&str]) -> Process {
        let process = self.spawn(ports, number, options);
        process.wait_out("that it listens", |line| line.contains("listening on").then_some(()));
        process
    }

    /// Starts one, and tells how many users it knows.
    #[track_caller]
    fn users(&self, ports: &[u16], number: usize, options: &[&str]) -> u32 {
        let mut process = self.start(ports, number, options);
        process.send("status");
        process
            .wait_out("how many users there are", |line| line.strip_prefix("users ")?.parse().ok())
    }

    /// Starts one that refuses to.
    #[track_caller]
    fn refused(&self, ports: &[u16], number: usize, words: &[&str]) {
        refuses(&self.spawn(ports, number, &[]).finish(PATIENCE), words);
    }

    /// Has a user made at the tracker with that port, which is the only one of the file.
    fn fill(&self, port: u16) {
        let _tracker = self.start(&[port], 1, &[]);
        RawClient::enter(([127, 0, 0, 1], port).into(), "nik");
    }
}

/// Exit status 2, and one line with these words.
#[track_caller]
fn refuses(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.status, Some(2), "{finished:?}");
    let errors = finished.errors();
    assert!(
        errors.len() == 1 && words.iter().all(|word| errors[0].contains(word)),
        "{finished:?} does not say {words:?}"
    );
}

#[test]
fn lines_that_are_added_removed_or_moved_lose_no_data() {
    let machine = Machine::new();
    let [own, other, third] = machine.ports;
    machine.fill(own);
    for (ports, number) in
        [(&[other, own][..], 2), (&[own, other], 1), (&[third, other, own], 3), (&[own], 1)]
    {
        assert_eq!(machine.users(ports, number, &[]), 1, "{ports:?}");
    }
    // Another tracker of this machine has data of its own, as in the README's quick start.
    assert_eq!(machine.users(&[own, other], 2, &[]), 0);
    assert_eq!(machine.users(&[other, own], 2, &[]), 1);
    assert_eq!(
        std::fs::read_to_string(machine.data(own).join("tracker.txt")).unwrap().lines().count(),
        3
    );
}

#[test]
fn two_trackers_of_one_machine_run_side_by_side_without_a_data_directory_named() {
    let machine = Machine::new();
    let [first, second, _] = machine.ports;
    let mut trackers = [1, 2].map(|number| machine.start(&[first, second], number, &[]));
    RawClient::enter(([127, 0, 0, 1], first).into(), "nik");
    for tracker in &mut trackers {
        eventually("both know the user", || {
            let before = tracker.said().out.len();
            tracker.send("status");
            let said = tracker.wait_said(PATIENCE, |said| {
                let mut lines = said.out.iter().skip(before);
                lines.find_map(|line| Some(line.strip_prefix("users ")?.to_owned()))
            });
            (said? == "1").then_some(())
        });
    }
    // The same tracker once more.
    machine.refused(&[second, first], 2, &["in use", "--data-dir"]);
}

#[test]
fn directories_of_earlier_versions_are_taken_over_or_listed() {
    let machine = Machine::new();
    let [own, other, third] = machine.ports;
    machine.fill(own);
    let earlier = |number: u32, port: u16| machine.root().join(format!("tracker-{number}-{port}"));
    std::fs::remove_file(machine.data(own).join("tracker.txt")).unwrap();
    std::fs::rename(machine.data(own), earlier(1, own)).unwrap();
    assert_eq!(machine.users(&[other, own], 2, &[]), 1);
    assert!(machine.data(own).exists() && !earlier(1, own).exists(), "it has its new name");
    // Two that may be meant.
    std::fs::remove_file(machine.data(own).join("tracker.txt")).unwrap();
    std::fs::rename(machine.data(own), earlier(1, own)).unwrap();
    copy(&earlier(1, own), &earlier(2, own));
    let listed = [text(&earlier(1, own)), text(&earlier(2, own)), "--data-dir"].map(str::to_owned);
    for port in [own, third] {
        machine.refused(&[port], 1, &listed.each_ref().map(String::as_str));
    }
    assert_eq!(machine.users(&[own], 1, &["--data-dir", &listed[1]]), 1, "as the message advises");
}

#[test]
fn an_empty_start_beside_other_data_is_refused_unless_wanted_or_filled_by_another() {
    let machine = Machine::new();
    let [before, now, other] = machine.ports;
    machine.fill(before);
    // The address of the only tracker was changed.
    machine.refused(&[now], 1, &[text(&machine.data(before)), "--data-dir", "--new"]);
    assert!(!machine.data(now).exists(), "a refused start leaves nothing behind");
    assert_eq!(machine.users(&[now], 1, &["--new"]), 0);
    assert_eq!(machine.users(&[now], 1, &[]), 0, "from now on it has data");
    // Another tracker that can be reached, on another machine perhaps.
    std::fs::remove_dir_all(machine.data(now)).unwrap();
    machine.refused(&[now, other], 1, &["no other tracker of the file answers"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let _other = machine.start(&[now, other], 2, &["--data-dir", text(elsewhere.path())]);
    assert_eq!(machine.users(&[now, other], 1, &[]), 0);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        // Anything else is a control socket.
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}
