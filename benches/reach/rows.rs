//! The rows of the table: where the two members are, and how they are to reach each other.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::harness::{
    Asked, Cable, ClientProcess, Content, Home, House, Outside, Router, Street, World, eventually,
};
use crate::line::Line;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The same for both families.
const BOTH: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// Within this time after the command bytes come through a hole or a relay.
const MET_WITHIN: Option<Duration> = Some(Duration::from_secs(3));

/// Two members who are logged in: nik shares a file, of which bob has nothing. What is first in
/// here ends first.
pub(crate) struct Stage {
    pub(crate) nik: ClientProcess,
    pub(crate) bob: ClientProcess,
    _world: World,
    pub(crate) network: Box<dyn Any>,
}

impl Stage {
    pub(crate) fn set(
        [mut nik, mut bob]: [ClientProcess; 2],
        world: World,
        network: impl Any,
        content: &Content,
    ) -> Self {
        nik.login("nik");
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
        bob.login("bob");
        Self { nik, bob, _world: world, network: Box::new(network) }
    }

    /// Where a router forwards to nik, if one does.
    pub(crate) fn mapped(&mut self) -> Option<String> {
        let said = self.nik.object("addresses");
        let routers = said["routers"].as_array()?.iter();
        routers.filter_map(|one| one["external"].as_str()).map(str::to_owned).next()
    }
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The ways that are right.
    pub(crate) must: &'static [&'static str],
    /// Routers and bridges between the two: as many as on the direct link beside it.
    pub(crate) between: u8,
    /// Time to the first bytes, if there is a bar.
    pub(crate) within: Option<Duration>,
    pub(crate) stage: fn(&Content) -> Option<Stage>,
}

pub(crate) const ROWS: [Row; 11] = [
    Row {
        name: "public | behind a router",
        must: &["direct"],
        between: 1,
        within: None,
        stage: behind_a_router,
    },
    Row {
        name: "router with UPnP | another router",
        must: &["mapped"],
        between: 3,
        within: None,
        stage: |content| mapped(Asked::Upnp, content),
    },
    Row {
        name: "router with NAT-PMP | another router",
        must: &["mapped"],
        between: 3,
        within: None,
        stage: |content| mapped(Asked::NatPmp, content),
    },
    Row {
        name: "router with PCP | another router",
        must: &["mapped"],
        between: 3,
        within: None,
        stage: |content| mapped(Asked::Pcp, content),
    },
    Row {
        name: "endpoint-independent router | the same",
        must: &["punched", "relayed"],
        between: 3,
        within: MET_WITHIN,
        stage: |content| street(Router::EndpointIndependent, content),
    },
    Row {
        name: "symmetric router | the same",
        must: &["relayed"],
        between: 3,
        within: MET_WITHIN,
        stage: |content| street(Router::Symmetric, content),
    },
    Row {
        name: "both behind one router | ",
        must: &["direct"],
        between: 1,
        within: None,
        stage: one_house,
    },
    Row {
        name: "IPv6 only | IPv4 only",
        must: &["relayed"],
        between: 1,
        within: MET_WITHIN,
        stage: six_and_four,
    },
    Row {
        name: "IPv6 only | both",
        must: &["direct"],
        between: 0,
        within: None,
        stage: dual_stack,
    },
    Row {
        name: "carrier NAT behind home NAT | public",
        // The one behind the routers connects: for a link at once, or because it is asked to.
        must: &["direct", "punched"],
        between: 2,
        within: None,
        stage: |content| carrier(false, content),
    },
    Row {
        name: "public | carrier NAT behind home NAT",
        must: &["direct"],
        between: 2,
        within: None,
        stage: |content| carrier(true, content),
    },
];

/// A network with a tracker that relays, and the file of nik's.
pub(crate) fn world(listen: &str, content: &Content) -> World {
    let relay = format!("--relay={listen}:0");
    let options = ["--listen", listen, &relay, "--relay-rate", "off", "--relay-user-rate", "off"];
    let world = World::with_options(1, &options);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", content);
    world
}

/// Two machines with so many routers between them, all of which let everything pass.
pub(crate) fn direct(between: u8, content: &Content) -> Option<Stage> {
    if between == 0 {
        return cable(content);
    }
    let line = Line::lay(between)?;
    let world = world("0.0.0.0", content);
    let info = line.info(&world);
    let nik = line.client(false, &world.home("nik"), &info);
    let bob = line.client(true, &world.home("bob"), &info);
    Some(Stage::set([nik, bob], world, line, content))
}

fn cable(content: &Content) -> Option<Stage> {
    let cable = Cable::lay()?;
    let world = world("0.0.0.0", content);
    let info = cable.info(&world);
    let nik = cable.client(&world.home("nik"), ANY, &info);
    let bob = ClientProcess::start(&world.home("bob"), SocketAddr::new(ANY, 0), &info, true);
    Some(Stage::set([nik, bob], world, cable, content))
}

fn behind_a_router(content: &Content) -> Option<Stage> {
    let outside = Outside::build()?;
    let world = world("0.0.0.0", content);
    let home = Home::build(outside.segment(), 0);
    let info = outside.info(&world);
    let nik = outside.client(&world.home("nik"), &info);
    let bob = home.client(&world.home("bob"), &info, &[]);
    Some(Stage::set([nik, bob], world, (home, outside), content))
}

fn mapped(how: Asked, content: &Content) -> Option<Stage> {
    let outside = Outside::build()?;
    let world = world("0.0.0.0", content);
    let [mut of_nik, of_bob] = [0, 1].map(|number| Home::build(outside.segment(), number));
    of_nik.can_be_asked(how);
    let info = outside.info(&world);
    let nik = of_nik.client(&world.home("nik"), &info, &[]);
    let bob = of_bob.client(&world.home("bob"), &info, &["--no-port-mapping"]);
    let mut stage = Stage::set([nik, bob], world, (of_nik, of_bob, outside), content);
    eventually("a router forwards", || stage.mapped());
    Some(stage)
}

fn street(router: Router, content: &Content) -> Option<Stage> {
    let street = Street::build(&[router; 2])?;
    let world = world("0.0.0.0", content);
    let info = street.info(&world);
    let nik = street.client(0, &world.home("nik"), &info);
    let bob = street.client(1, &world.home("bob"), &info);
    Some(Stage::set([nik, bob], world, street, content))
}

fn one_house(content: &Content) -> Option<Stage> {
    let house = House::build(2)?;
    let world = world("0.0.0.0", content);
    let info = house.router.info(&world);
    let nik = house.client(0, &world.home("nik"), &info);
    let bob = house.client(1, &world.home("bob"), &info);
    Some(Stage::set([nik, bob], world, house, content))
}

fn six_and_four(content: &Content) -> Option<Stage> {
    let six = Cable::lay()?;
    let (here, _) = six.add_ipv6()?;
    let four = Cable::lay()?;
    let world = world("[::]", content);
    let info = six.info_at(&world, here);
    six.remove_ipv4();
    let nik = six.client(&world.home("nik"), BOTH, &info);
    let bob = four.client(&world.home("bob"), ANY, &four.info(&world));
    Some(Stage::set([nik, bob], world, (six, four), content))
}

fn dual_stack(content: &Content) -> Option<Stage> {
    let cable = Cable::lay()?;
    let (here, _) = cable.add_ipv6()?;
    let world = world("[::]", content);
    let info = cable.info_at(&world, here);
    cable.remove_ipv4();
    let nik = cable.client(&world.home("nik"), BOTH, &info);
    let bob = ClientProcess::start(&world.home("bob"), SocketAddr::new(BOTH, 0), &world.info, true);
    Some(Stage::set([nik, bob], world, cable, content))
}

/// Nik behind a router behind a carrier's, and bob outside, or the other way round.
fn carrier(is_bob_inside: bool, content: &Content) -> Option<Stage> {
    let outside = Outside::build()?;
    let world = world("0.0.0.0", content);
    let carrier = Home::carrier(outside.segment(), 0);
    let home = Home::build(carrier.inside(), 0);
    let info = outside.info(&world);
    let (of_nik, of_bob) = (world.home("nik"), world.home("bob"));
    let clients = match is_bob_inside {
        true => [outside.client(&of_nik, &info), home.client(&of_bob, &info, &[])],
        false => [home.client(&of_nik, &info, &[]), outside.client(&of_bob, &info)],
    };
    Some(Stage::set(clients, world, (home, carrier, outside), content))
}
