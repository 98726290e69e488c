//! Machines that get another address, and cables that are out: what is under way goes on soon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Cable, ClientProcess, Content, World, eventually, sha1_of};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// How long a download may stand still: ten seconds, on a machine that does other things too.
const STANDSTILL_MAX: Duration = Duration::from_secs(13);
/// How long one may that has moved to another network: five seconds, on the same machine.
const MOVED_MAX: Duration = Duration::from_secs(8);
/// What may come twice: pieces of which a part was there. A link has a few under way.
const TWICE_MAX: u64 = 2 << 20;

struct Lab {
    content: Content,
    info: PathBuf,
    world: World,
    cable: Cable,
}

impl Lab {
    fn new(seed: u64) -> Option<Self> {
        let cable = Cable::lay()?;
        let world = World::with_options(1, &["--listen", "0.0.0.0"]);
        world.group("lab", &["nik", "bob"]);
        let info = cable.info(&world);
        let content = Content::new("big.bin", 48 << 20, seed);
        world.put("nik", &content);
        Some(Self { content, info, world, cable })
    }

    fn near(&self, user: &str) -> ClientProcess {
        let address = SocketAddr::new(self.cable.here(), 0);
        ClientProcess::start(&self.world.home(user), address, &self.info, true)
    }

    fn far(&self, user: &str, listen: IpAddr) -> ClientProcess {
        self.cable.client(&self.world.home(user), listen, &self.info)
    }

    fn begin(nik: &mut ClientProcess, bob: &mut ClientProcess) {
        nik.login("nik");
        nik.ok("limits upload 2MiB/s", &[]);
        nik.ok("upload_file big.bin lab", &[]);
        bob.login("bob");
        bob.ok("download_file lab big.bin", &[]);
        eventually("it moves", || (bob.bytes_done("big.bin") >= 2 << 20).then_some(()));
    }

    /// Waits until more has come than there was, and was on its way; returns the time it took.
    fn goes_on(bob: &mut ClientProcess, since: Instant) -> Duration {
        let before = bob.bytes_done("big.bin") + (2 << 20);
        eventually("it goes on", || (bob.bytes_done("big.bin") >= before).then_some(()));
        let took = since.elapsed();
        println!("2 MiB more after {took:?}");
        assert!(took < STANDSTILL_MAX, "it went on after {took:?}");
        took
    }

    /// One end moves to another network: it goes on, and nothing comes twice.
    fn moves(&self, nik: &mut ClientProcess, bob: &mut ClientProcess) {
        Self::begin(nik, bob);
        self.cable.change_network();
        let took = Self::goes_on(bob, Instant::now());
        assert!(took < MOVED_MAX, "it went on after {took:?}");
        self.end(nik, bob);
        let (received, len) = (bob.bytes_received(), self.content.bytes.len() as u64);
        println!("{} bytes of {len} came twice", received - len);
        assert!(received <= len + TWICE_MAX, "{received} bytes of {len} were received");
    }

    fn end(&self, nik: &mut ClientProcess, bob: &mut ClientProcess) {
        nik.ok("limits upload off", &[]);
        bob.wait_downloads();
        assert_eq!(sha1_of(&bob.path("big.bin")), self.content.sha1());
    }
}

#[test]
fn a_leecher_that_gets_another_address_goes_on_soon() {
    let Some(lab) = Lab::new(401) else { return };
    let (mut nik, mut bob) = (lab.near("nik"), lab.far("bob", ANY));
    Lab::begin(&mut nik, &mut bob);
    lab.cable.change_address();
    Lab::goes_on(&mut bob, Instant::now());
    lab.end(&mut nik, &mut bob);
}

#[test]
fn a_seeder_that_gets_another_address_is_found_again_soon() {
    let Some(lab) = Lab::new(402) else { return };
    let (mut nik, mut bob) = (lab.far("nik", ANY), lab.near("bob"));
    Lab::begin(&mut nik, &mut bob);
    lab.cable.change_address();
    Lab::goes_on(&mut bob, Instant::now());
    lab.end(&mut nik, &mut bob);
}

#[test]
fn a_seeder_that_moves_to_another_network_goes_on_soon_and_sends_nothing_twice() {
    let Some(lab) = Lab::new(405) else { return };
    let (mut nik, mut bob) = (lab.far("nik", ANY), lab.near("bob"));
    lab.moves(&mut nik, &mut bob);
}

#[test]
fn a_leecher_that_moves_to_another_network_goes_on_soon_and_fetches_nothing_twice() {
    let Some(lab) = Lab::new(406) else { return };
    let (mut nik, mut bob) = (lab.near("nik"), lab.far("bob", ANY));
    lab.moves(&mut nik, &mut bob);
}

#[test]
fn a_cable_that_was_out_costs_little_more_than_that_time() {
    let Some(lab) = Lab::new(403) else { return };
    let (mut nik, mut bob) = (lab.near("nik"), lab.far("bob", ANY));
    Lab::begin(&mut nik, &mut bob);
    lab.cable.plug(false);
    eventually("the dead link has ended", || (bob.download("big.bin")["peers"] == 0).then_some(()));
    // The cable stays out for as long as the links need to be given up, and longer.
    std::thread::sleep(Duration::from_secs(10));
    lab.cable.plug(true);
    Lab::goes_on(&mut bob, Instant::now());
    lab.end(&mut nik, &mut bob);
}

#[test]
fn a_seeder_whose_own_address_is_gone_is_told() {
    let Some(lab) = Lab::new(404) else { return };
    let mut nik = lab.far("nik", lab.cable.there());
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    lab.cable.change_address();
    let listens = format!("{}:{}", lab.cable.there(), nik.address.port());
    eventually("it says that it cannot be reached", || {
        let why = nik.object("why lab big.bin").to_string();
        (why.contains(&listens) && why.contains("address of this machine")).then_some(())
    });
}
