//! A service that is killed and started again by a supervisor, as systemd's `Restart=always` does
//! it: nobody is at a prompt, and what was under way goes on.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Content, Process, World, eventually, set_home, sha1_of};

/// Says the process id of each start on a line of its own, and starts again whatever ends with a
/// failure. Each start dies with the shell.
const SUPERVISOR: &str = r#"
    while :; do
        setpriv --pdeathsig KILL sh -c 'echo "pid $$"; exec "$@"' sh "$@" && exit
        sleep 0.1
    done
"#;

/// A service and what restarts it.
struct Supervised(Process);

impl Supervised {
    fn start(world: &World, name: &str) -> Self {
        let service = world.command(name, &["--service", "--json"]);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", SUPERVISOR, "sh"]);
        command.arg(service.get_program()).args(service.get_args()).current_dir(world.home(name));
        set_home(&mut command, &world.home(name));
        let supervised = Self(Process::spawn("supervisor", &mut command));
        supervised.wait_serving(1);
        supervised
    }

    fn pids(&self) -> Vec<i32> {
        let said = self.0.said();
        said.out.iter().filter_map(|line| line.strip_prefix("pid ")?.parse().ok()).collect()
    }

    /// Waits for that many starts.
    fn wait_starts(&self, count: usize) {
        eventually("it is started", || (self.pids().len() >= count).then_some(()));
    }

    /// Waits until the start of that number serves.
    fn wait_serving(&self, count: usize) {
        self.wait_event(count, "listening");
    }

    /// Waits until the start of that number has told of an event.
    fn wait_event(&self, count: usize, event: &str) {
        let words = format!("\"event\":\"{event}\"");
        eventually(&format!("start {count} tells of {event}"), || {
            let said = self.0.said();
            let mut starts =
                said.out.iter().enumerate().filter(|(_, line)| line.starts_with("pid "));
            let (at, _) = starts.nth(count - 1)?;
            let mut lines = said.out[at + 1..].iter().take_while(|line| !line.starts_with("pid "));
            lines.any(|line| line.contains(&words)).then_some(())
        });
    }

    /// Ends the start that runs now.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(*self.pids().last().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// What an attached program is told of the download.
fn download(world: &World) -> Value {
    let script = world.script("bob", &["--json", "-c", "show_downloads"], &[]);
    assert_eq!(script.status, Some(0), "{script:?}");
    let result = script.out.iter().find(|line| line.contains("\"show_downloads\"")).unwrap();
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["downloads"].as_array().map(Vec::len), Some(1), "{result}");
    result["downloads"][0].clone()
}

/// What is there of it.
fn bytes_done(world: &World) -> u64 {
    download(world)["bytes_done"].as_u64().unwrap()
}

#[test]
fn a_service_that_is_killed_goes_on_where_it_was_with_nobody_at_a_prompt() {
    const MIB: u64 = 1 << 20;
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 16 << 20, 951);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    gate.allow(4 * MIB);
    let service = Supervised::start(&world, "bob");
    let begun = world.script(
        "bob",
        &["-c", "login bob pw-bob --stay", "-c", "download_file lab big.bin"],
        &[],
    );
    assert_eq!(begun.status, Some(0), "{begun:?}");
    for (killed, allowed) in [(1, 8 * MIB), (2, 12 * MIB)] {
        let before = eventually("much has come", || {
            Some(bytes_done(&world)).filter(|bytes| *bytes + 2 * MIB >= gate_limit(allowed))
        });
        service.signal(Signal::KILL);
        service.wait_serving(killed + 1);
        service.wait_event(killed + 1, "logged_in");
        // The gate lets nothing more through: these bytes are from the disk. Pieces that are not in
        // the journal are hashed first, and the last ones may not have been synced.
        let kept = eventually("it has what it had", || {
            let after = download(&world);
            assert_eq!(after["state"], "running", "{after}");
            after["bytes_done"].as_u64().filter(|kept| *kept + 2 * MIB >= before)
        });
        println!("killed with {before} bytes, went on from {kept}");
        gate.allow(gate.passed() + 4 * MIB);
    }
    // Killed while it starts, again and again.
    for starts in 4..9 {
        service.signal(Signal::KILL);
        service.wait_starts(starts);
    }
    service.wait_event(8, "logged_in");
    gate.lift();
    eventually("it is complete", || (download(&world)["state"] == "complete").then_some(()));
    assert_eq!(sha1_of(&world.home("bob").join("big.bin")), content.sha1());
    // From now on it is offered from there.
    let uploads = world.script("bob", &["--json", "-c", "show_uploads"], &[]);
    assert!(uploads.out.iter().any(|line| line.contains("big.bin")), "{uploads:?}");
    // Ended in order it is not started again.
    service.signal(Signal::TERM);
    let mut service = service;
    assert_eq!(service.0.wait_exit(crate::harness::PATIENCE).code(), Some(0));
}

/// What has come when the gate stands at the step before.
fn gate_limit(next: u64) -> u64 {
    next - (4 << 20)
}
