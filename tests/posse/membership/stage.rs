//! What the tests of membership are played on, and how the time is taken.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use posse::types::{GroupId, Ticket};

use crate::harness::{
    Behaviour, ClientProcess, Content, EvilPeer, RawClient, RawLink, Sipped, Sipper, World,
    eventually,
};

/// What may pass between the tracker's word and the last byte.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);
/// Time between two blocks of a peer that makes a download last.
const PACE: Duration = Duration::from_millis(10);

/// Two trackers; the members nik, who owns the group lab, and bob, whose clients both seed big.bin;
/// and the members eve and carl, with an account each.
pub(super) struct Stage {
    pub(super) nik: ClientProcess,
    pub(super) bob: ClientProcess,
    pub(super) content: Content,
    pub(super) group: GroupId,
    /// The number of the tracker that answers nik, and of the other.
    primary: usize,
    survivor: usize,
    pub(super) failover: bool,
    pub(super) world: World,
}

impl Stage {
    pub(super) fn new(failover: bool, seed: u64) -> Self {
        let mut world = World::new(2);
        world.group("lab", &["nik", "bob", "eve", "carl"]);
        world.wait_synced();
        let content = Content::new("big.bin", 4 << 20, seed);
        let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
        for (client, name) in [(&mut nik, "nik"), (&mut bob, "bob")] {
            world.put(name, &content);
            client.login(name);
            client.ok("upload_file big.bin lab", &[]);
        }
        let trackers = nik.object("trackers");
        let primary = trackers["trackers"]
            .as_array()
            .unwrap()
            .iter()
            .position(|t| t["role"] == "primary")
            .expect("one is primary")
            + 1;
        let survivor = 3 - primary;
        let group = RawClient::enter(world.tracker(survivor), "nik").group("lab").group;
        Self { nik, bob, content, group, primary, survivor, failover, world }
    }

    /// The tracker that stays.
    pub(super) fn tracker(&self) -> SocketAddr {
        self.world.tracker(self.survivor)
    }

    /// A device of the test's own with a session at the tracker that stays.
    pub(super) fn session(&self, user: &str) -> RawClient {
        RawClient::enter(self.tracker(), user)
    }

    /// Two devices of a user, each linked to both seeders; first the links to nik.
    pub(super) fn sippers(&self, user: &str, sessions: &mut [RawClient]) -> [Vec<Sipper>; 2] {
        let peers = [("nik", &self.nik), ("bob", &self.bob)]
            .map(|(name, client)| (name, (client.address, client.device())));
        peers.map(|(seeder, peer)| {
            let sip = |(number, session): (usize, &mut RawClient)| {
                let ticket = session.ticket(self.group).expect("a member is given a ticket");
                let name = format!("{user}'s device {} at {seeder}", number + 1);
                Sipper::start(&name, &session.device, &ticket, peer, self.content.facts().info_hash)
            };
            sessions.iter_mut().enumerate().map(sip).collect()
        })
    }

    /// Somebody who shares a file of their own, at a pace that makes it last; the client has begun
    /// to download it.
    pub(super) fn slow_peer(
        &self,
        user: &str,
        file: &str,
        leecher: &mut ClientProcess,
    ) -> EvilPeer {
        let content = Content::new(file, 32 << 20, 300 + user.len() as u64);
        let peer = EvilPeer::start(self.tracker(), user, "lab", &content, Behaviour::Slow(PACE));
        eventually("the file is known", || {
            (leecher.object(&format!("download_file lab {file}"))["ok"] == true).then_some(())
        });
        peer.wait_requests(1);
        eventually("a block was sent", || (peer.sent() > 0).then_some(()));
        peer
    }

    /// Kills the primary, if that is the variant, and at once has somebody say what ends it all.
    /// Returns when it was answered.
    pub(super) fn say(&mut self, what: &str, say: impl FnOnce(&mut Self)) -> Said {
        if self.failover {
            let primary = self.primary;
            self.world.trackers[primary - 1].kill9();
        }
        let began = Instant::now();
        say(self);
        let answered = Instant::now();
        let after = if self.failover { ", right after a failover" } else { "" };
        let what = format!("{what}{after}");
        println!("{what}: answered after {} ms", (answered - began).as_millis());
        Said { what, answered }
    }
}

/// What was said to the tracker, and when it was answered.
pub(super) struct Said {
    what: String,
    answered: Instant,
}

impl Said {
    /// Milliseconds from the answer to something; less than none if that was before.
    fn ms(&self, at: Option<Instant>) -> i128 {
        let at = at.expect("it was served and ended");
        let after = at.saturating_duration_since(self.answered).as_millis() as i128;
        after - self.answered.saturating_duration_since(at).as_millis() as i128
    }

    /// Prints and checks when something stopped.
    #[track_caller]
    pub(super) fn stopped(&self, who: &str, sipped: Sipped) {
        let (data, link) = (self.ms(sipped.last), self.ms(sipped.ended));
        println!(
            "{}: {who}: last data {data:+} ms, end of the link {link:+} ms ({} bytes)",
            self.what, sipped.bytes
        );
        let limit = AT_ONCE.as_millis() as i128;
        assert!(data < limit, "{}: {who} had data {data} ms after the answer", self.what);
        assert!(link < limit, "{}: {who} had a link {link} ms after the answer", self.what);
    }

    #[track_caller]
    pub(super) fn all_stopped(&self, sippers: &[Sipper]) {
        sippers.iter().for_each(|sipper| self.stopped(&sipper.name, sipper.wait_ended()));
    }
}

/// Neither the ticket that was good nor a new one leads anywhere now.
#[track_caller]
pub(super) fn shut_out(stage: &Stage, session: &mut RawClient, ticket: &Ticket) {
    assert_eq!(session.ticket(stage.group), None, "a ticket was given to a user who is no member");
    for client in [&stage.nik, &stage.bob] {
        let peer = (client.address, client.device());
        let link = RawLink::open(&session.device, ticket, peer, stage.content.facts().info_hash);
        assert!(link.is_err(), "an old ticket opened a link");
    }
}
