//! One measurement each: a download from its beginning, one of whose ends moves, and one whose
//! trackers are cut off.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Cable, ClientProcess, Content, LocalNetwork, PATIENCE, World, eventually};
use crate::rows::{self, Stage};

/// How often a client is asked how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// How often it is asked how it is linked.
const LOOK_AT_LINKS: Duration = Duration::from_millis(100);

/// How a file came.
pub(crate) struct Fetched {
    /// From the command to the first verified piece.
    pub(crate) first: Duration,
    /// MB/s from there to the last one.
    pub(crate) rate: f64,
    /// The ways of the links that it came over, the first at the beginning.
    pub(crate) ways: Vec<&'static str>,
}

/// Fetches the file of a stage.
pub(crate) fn fetch(mut stage: Stage, content: &Content) -> Fetched {
    let mapped = stage.mapped();
    let begun = Instant::now();
    stage.bob.ok(&format!("download_file lab {}", content.name), &[]);
    let direct =
        |address: &str| if mapped.as_deref() == Some(address) { "mapped" } else { "direct" };
    let fetched = watch(&mut stage.bob, content, begun, direct);
    stage.bob.wait_downloads();
    fetched
}

/// Watches a download that has begun; `direct` names the way of a direct link to an address.
fn watch(
    bob: &mut ClientProcess,
    content: &Content,
    begun: Instant,
    direct: impl Fn(&str) -> &'static str,
) -> Fetched {
    let len = content.bytes.len() as u64;
    let (at_first, first) = poll(begun, || Some(bob.bytes_done(&content.name)).filter(|&b| b > 0));
    let (mut ways, mut looked) = (Vec::new(), None::<Instant>);
    let ((), last) = poll(begun, || {
        if looked.is_none_or(|at| at.elapsed() > LOOK_AT_LINKS) {
            looked = Some(Instant::now());
            let said = bob.object(&format!("show_peers lab {}", content.name));
            for peer in said["peers"].as_array().into_iter().flatten() {
                let way = match (&peer["relayed"], &peer["punched"]) {
                    (relayed, _) if *relayed == true => "relayed",
                    (_, punched) if *punched == true => "punched",
                    _ => direct(peer["address"].as_str().unwrap_or_default()),
                };
                if peer["bytes_received"].as_u64() > Some(0) && !ways.contains(&way) {
                    ways.push(way);
                }
            }
        }
        (bob.bytes_done(&content.name) == len).then_some(())
    });
    let seconds = (last - first).as_secs_f64();
    Fetched { first, rate: (len - at_first) as f64 / 1e6 / seconds, ways }
}

/// Asks until there is an answer, and tells the time since `begun`.
fn poll<T>(begun: Instant, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return (answer, begun.elapsed());
        }
        assert!(Instant::now() < limit, "waited {PATIENCE:?} in vain");
        sleep(LOOK);
    }
}

/// How a download went of which one end moved into another network.
pub(crate) struct Moved {
    /// From the move until more came than had been on its way.
    pub(crate) standstill: Duration,
    /// Bytes received more than the file has.
    pub(crate) twice: u64,
}

/// Has one end move when a quarter of the file is there.
pub(crate) fn moved(is_seeder: bool, content: &Content) -> Option<Moved> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let cable = Cable::lay()?;
    let world = rows::world("0.0.0.0", content);
    let info = cable.info(&world);
    let start = |user: &str, is_far: bool| match is_far {
        true => cable.client(&world.home(user), any, &info),
        false => ClientProcess::start(&world.home(user), SocketAddr::new(any, 0), &info, true),
    };
    let clients = [start("nik", is_seeder), start("bob", !is_seeder)];
    let mut stage = Stage::set(clients, world, cable, content);
    let (bob, len) = (&mut stage.bob, content.bytes.len() as u64);
    bob.ok(&format!("download_file lab {}", content.name), &[]);
    poll(Instant::now(), || (bob.bytes_done(&content.name) >= len / 4).then_some(()));
    let cable = stage.network.downcast_ref::<Cable>().expect("it is one");
    cable.change_network();
    let left = Instant::now();
    let (mut before, mut changed) = (bob.bytes_done(&content.name), Duration::ZERO);
    // What was on its way comes first; the longest pause ends with what comes anew.
    let (mut longest, mut standstill) = (Duration::ZERO, Duration::ZERO);
    poll(left, || {
        let (now, done) = (left.elapsed(), bob.bytes_done(&content.name));
        if done > before {
            if now - changed > longest {
                (longest, standstill) = (now - changed, now);
            }
            (before, changed) = (done, now);
        }
        (done == len).then_some(())
    });
    bob.wait_downloads();
    Some(Moved { standstill, twice: bob.bytes_received().saturating_sub(len) })
}

/// How two members of one network met without trackers.
pub(crate) struct Met {
    /// From the cut until the one knew where the other is.
    pub(crate) found: Duration,
    pub(crate) fetched: Fetched,
}

/// Cuts off the trackers of two who could not link so far, and gives nik an address of which none
/// has heard.
pub(crate) fn cut_off(content: &Content) -> Option<Met> {
    let network = LocalNetwork::build(2)?;
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", content);
    let info = network.info(&world);
    network.cut(1, network.address(0), true);
    let nik = network.client(0, &world.home("nik"), &info, &[]);
    let bob = network.client(1, &world.home("bob"), &info, &[]);
    let mut stage = Stage::set([nik, bob], world, network, content);
    let bob = &mut stage.bob;
    bob.ok(&format!("download_file lab {}", content.name), &[]);
    // He has a ticket then, and dials.
    eventually("he cannot reach her", || {
        let why = bob.object(&format!("why lab {}", content.name)).to_string();
        why.contains("cannot be reached at").then_some(())
    });
    let network = stage.network.downcast_ref::<LocalNetwork>().expect("it is one");
    let cut = Instant::now();
    (0..2).for_each(|machine| drop(network.cut(machine, network.here(), false)));
    let at = SocketAddr::new(network.change_address(0), stage.nik.address.port()).to_string();
    let ((), found) = poll(cut, || {
        let said = bob.object("addresses");
        let found = said["lan"]["found"].as_array()?.iter();
        let mut addresses = found.filter_map(|one| one["addresses"].as_array()).flatten();
        addresses.any(|one| *one == *at).then_some(())
    });
    let lan = |address: &str| if address == at { "lan" } else { "direct" };
    let fetched = watch(bob, content, cut, lan);
    bob.wait_downloads();
    Some(Met { found, fetched })
}
