//! The engine's interface to the client, for the user of one session.
//!
//! **Invariant:** a device receives a file only if it shows a valid ticket of a group in which this
//! device takes part in the file's swarm, and has not left that swarm itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Runtime;
use crate::client::session::input::{Answer, EngineNews, Input};
use crate::client::session::{TICKET_TIMEOUT, View};
use crate::net::InterfaceAddress;
use crate::store::DownloadRow;
use crate::swarm::{
    EngineEvent, Host, LocalCopy, MeetError, Meeting, Proof, RelayPlace, SeedSpec, TransferId,
};
use crate::trust::NetworkPublicKey;
use crate::types::{
    ChainingValues, DeviceId, FileFacts, GroupId, InfoHash, InodeId, Ticket, UserId, VerifiedPieces,
};
use crate::wire::metainfo::Metainfo;
use crate::wire::tracker::Request;

/// Maximum number of verified tickets that are kept: more than devices are linked at a time. Some
/// hundred bytes each.
const SIGNED_MAX: usize = 1024;

/// The host of one session's engine.
pub(crate) struct SessionHost {
    runtime: Weak<Runtime>,
    user: UserId,
    /// Tickets whose signature was verified, by the device that showed them. Each link checks its
    /// ticket twice, and two members with many common files link often.
    signed: Mutex<HashMap<DeviceId, (Ticket, NetworkPublicKey)>>,
}

impl SessionHost {
    pub(crate) fn new(runtime: &Arc<Runtime>, user: UserId) -> Self {
        Self { runtime: Arc::downgrade(runtime), user, signed: Mutex::default() }
    }

    /// Tells whether the network's key signed exactly this ticket.
    fn is_signed(&self, ticket: &Ticket, network: NetworkPublicKey) -> bool {
        let (device, both) = (ticket.claims.device, (*ticket, network));
        if self.signed.lock().get(&device) == Some(&both) {
            return true;
        }
        let is_good = network.signed_ticket(ticket);
        if is_good {
            let mut signed = self.signed.lock();
            if signed.len() >= SIGNED_MAX {
                signed.clear();
            }
            signed.insert(device, both);
        }
        is_good
    }

    /// Tells the trackers what is wrong with a device, in a group in which both take part in the
    /// file's swarm: they tell the device.
    fn report(&self, info_hash: InfoHash, device: DeviceId, request: impl Fn(GroupId) -> Request) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        let view = runtime.view();
        let mut groups = view.library.groups_of(info_hash);
        groups.extend(view.library.sources_of(info_hash));
        let group =
            groups.into_iter().find(|group| view.book.takes_part(info_hash, device, *group));
        group.into_iter().for_each(|group| runtime.trackers.send_all(&request(group)));
    }

    /// Groups in which this device and the other one take part in the file's swarm. Those in which
    /// both serve the file are preferred to those that are only a source.
    fn common_groups(view: &View, info_hash: InfoHash, device: DeviceId) -> Vec<GroupId> {
        let takes_part = |group: &GroupId| view.book.takes_part(info_hash, device, *group);
        let mut groups = view.library.groups_of(info_hash);
        groups.retain(takes_part);
        if groups.is_empty() {
            groups = view.library.sources_of(info_hash).filter(takes_part).collect();
        }
        groups
    }

    fn tell(&self, input: Input) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.tell(input);
        }
    }
}

impl Host for SessionHost {
    fn ticket_for(&self, info_hash: InfoHash, device: DeviceId) -> Option<Ticket> {
        let runtime = self.runtime.upgrade()?;
        let view = runtime.view();
        let groups = Self::common_groups(&view, info_hash, device);
        // Any of them will do; one whose ticket is at hand is preferred.
        let now_ms = runtime.trackers.clock_ms();
        let at_hand = groups.iter().find_map(|group| view.tickets.own(*group, now_ms));
        at_hand.or_else(|| groups.into_iter().find_map(|group| runtime.own_ticket(group)))
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        self.runtime.upgrade()?.own_ticket(group)
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let runtime = self.runtime.upgrade()?;
        let view = runtime.view();
        // While the session ends, no device is accepted.
        view.library.user().filter(|user| user.user == self.user)?;
        let (claims, now_ms) = (&ticket.claims, runtime.trackers.clock_ms());
        let left_ms = view.tickets.check(claims, device, now_ms)?;
        let keys = runtime.network.keys();
        let key = keys.into_iter().find(|key| self.is_signed(ticket, *key))?;
        Some(Proof {
            group: claims.group,
            user: claims.user,
            issued_ms: claims.issued_ms,
            expires_ms: now_ms.saturating_add(left_ms),
            expires: Instant::now() + Duration::from_millis(left_ms),
            key: key.into(),
        })
    }

    fn is_offered(&self, info_hash: InfoHash, group: GroupId, device: DeviceId) -> bool {
        let runtime = self.runtime.upgrade();
        runtime.is_some_and(|runtime| runtime.is_offered(info_hash, group, device))
    }

    fn serves(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.runtime
            .upgrade()
            .is_some_and(|runtime| runtime.view().library.serves(info_hash, group))
    }

    fn interfaces(&self) -> Arc<[InterfaceAddress]> {
        self.runtime.upgrade().map(|runtime| runtime.own_addresses.interfaces()).unwrap_or_default()
    }

    fn relay(&self, info_hash: InfoHash, device: DeviceId) -> Option<RelayPlace> {
        let runtime = self.runtime.upgrade()?;
        let group = *Self::common_groups(&runtime.view(), info_hash, device).first()?;
        runtime.trackers.ask_relay(group, device)
    }

    fn can_meet(&self, info_hash: InfoHash, device: DeviceId) -> bool {
        self.runtime.upgrade().is_some_and(|runtime| runtime.can_meet(info_hash, device))
    }

    fn meet(
        &self,
        info_hash: InfoHash,
        device: DeviceId,
        from: SocketAddr,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        let runtime = self.runtime.upgrade().ok_or(MeetError::Unable)?;
        runtime.meet(info_hash, device, from, is_over)
    }

    fn seed(&self, info_hash: InfoHash) -> Option<SeedSpec> {
        self.runtime.upgrade()?.seed_of(info_hash)
    }

    fn opened(&self, id: TransferId, info_hash: InfoHash, part: InodeId) -> Result<(), String> {
        let Some(runtime) = self.runtime.upgrade() else { return Ok(()) };
        let view = runtime.view();
        let is_in = |row: &DownloadRow| row.part.is_some_and(|own| own.file() == Some(part));
        if view.library.is_written(info_hash)
            && view.library.of_transfer(info_hash, id).is_some_and(|of| is_in(&of.row))
        {
            return Ok(());
        }
        // On the disk before a byte is written to the file: a later run knows it by that.
        let opened = move |reply| Input::Engine(id, info_hash, EngineNews::Opened(reply, part));
        runtime.question(opened).wait().map(drop).map_err(|error| error.to_string())
    }

    fn copies(&self, facts: &FileFacts) -> Vec<LocalCopy> {
        let Some(runtime) = self.runtime.upgrade() else { return Vec::new() };
        let view = runtime.view();
        let is_ours = view.library.user().is_some_and(|user| user.user == self.user);
        if is_ours { view.library.copies_of(facts) } else { Vec::new() }
    }

    fn journal(&self, id: TransferId, info_hash: InfoHash, verified: &VerifiedPieces) {
        self.tell(Input::Engine(id, info_hash, EngineNews::Journal(verified.clone())));
    }

    fn metainfo(&self, info_hash: InfoHash, metainfo: &Arc<Metainfo>) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        let (none, metainfo) = (TransferId(0), metainfo.clone());
        // After a crash, the pieces that are not in the journal are checked against it.
        let came =
            move |reply| Input::Engine(none, info_hash, EngineNews::Metainfo(reply, metainfo));
        let _ = runtime.question(came).wait();
    }

    fn chain(&self, info_hash: InfoHash, values: &Arc<ChainingValues>) {
        let news = EngineNews::Chain(values.clone());
        self.tell(Input::Engine(TransferId(0), info_hash, news));
    }

    fn event(&self, event: EngineEvent) {
        let input = match event {
            EngineEvent::Completed { id, info_hash, seed } => {
                Input::Engine(id, info_hash, EngineNews::Completed(seed))
            }
            EngineEvent::Failed { id, info_hash, reason } => {
                Input::Engine(id, info_hash, EngineNews::Failed(reason))
            }
            EngineEvent::Paused { id, info_hash, reason } => {
                Input::Engine(id, info_hash, EngineNews::Paused(reason))
            }
            EngineEvent::FileChanged { info_hash, path, is_gone } => {
                Input::FileChanged { info_hash, path, is_gone }
            }
            EngineEvent::Banned { info_hash, device } => {
                return self.report(info_hash, device, |group| Request::ReportBadData {
                    group,
                    info_hash,
                    device,
                });
            }
            EngineEvent::Unreachable { info_hash, device } => {
                return self.report(info_hash, device, |group| Request::ReportUnreachable {
                    group,
                    info_hash,
                    device,
                });
            }
        };
        self.tell(input);
    }
}

impl Runtime {
    /// Our ticket for a group in which this device takes part: the one at hand, else one that a
    /// tracker gives now.
    ///
    /// # Blocking
    /// For [`TICKET_TIMEOUT`] at most.
    pub(crate) fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        let view = self.view();
        if !view.library.takes_part(group) {
            return None;
        }
        let at_hand = view.tickets.own(group, self.trackers.clock_ms());
        at_hand.or_else(|| {
            let wanted = self.question(move |reply| Input::WantTicket(reply, group));
            match wanted.wait_for(TICKET_TIMEOUT) {
                Some(Ok(Answer::Ticket(ticket))) => ticket,
                _ => None,
            }
        })
    }
}
