//! The metainfo and the chaining values between links: asking for them and serving them (BEP 9,
//! BEP 10).
//!
//! **Invariant:** either is used only after it was checked against its hash and the facts.
//!
//! Called on the links' reader threads; checking is done without the lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::swarm::LinkKey;
use crate::swarm::api::TransferState;
use crate::swarm::engine::session::{
    CHAIN_ID, LinkError, METADATA_ID, Session, TICKET_ID, requests_taken,
};
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::engine::transfer::TransferPart;
use crate::swarm::link::{Link, PartsOf};
use crate::swarm::pick::chain::Chain;
use crate::swarm::pick::parts::{self, Collected, PART_TIMEOUT};
use crate::types::limits::METADATA_PART_LEN;
use crate::types::{FileFacts, Ticket};
use crate::wire::Wire;
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{EXTENDED_HANDSHAKE_ID, ExtendedHandshake, MetadataMessage, PeerError};

/// How long a download waits for a member who has the chaining values, while others have pieces.
const CHAIN_WAIT: Duration = Duration::from_secs(5);

impl Session<'_> {
    /// Takes a message of an extension.
    pub(crate) fn extension(&mut self, id: u8, payload: &[u8]) -> Result<(), LinkError> {
        match id {
            EXTENDED_HANDSHAKE_ID => {
                self.extended(&ExtendedHandshake::decode(payload).map_err(PeerError::from)?)
            }
            METADATA_ID => self.part(PartsOf::Metainfo, payload),
            CHAIN_ID => self.part(PartsOf::Chain, payload),
            TICKET_ID => self.newer_ticket(payload),
            _ => Ok(()),
        }
    }

    fn part(&mut self, of: PartsOf, payload: &[u8]) -> Result<(), LinkError> {
        let message = MetadataMessage::decode(payload).map_err(PeerError::from)?;
        if matches!(message, MetadataMessage::Request { .. }) {
            self.manners.part_asked().map_err(LinkError::Violation)?;
        }
        self.torrent.part_told(self.link, of, message);
        Ok(())
    }

    /// The peer shows a ticket that lasts longer. It must be of the same group: the link rests on
    /// that one.
    fn newer_ticket(&mut self, payload: &[u8]) -> Result<(), LinkError> {
        self.manners.ticket_shown(Instant::now()).map_err(LinkError::Violation)?;
        let ticket = Ticket::from_bytes(payload).map_err(PeerError::from)?;
        let proof = self.torrent.engine.host.check_ticket(&ticket, self.link.device);
        let old = self.link.proof();
        match proof {
            Some(proof) if (proof.group, proof.user) == (old.group, old.user) => {
                if proof.expires > old.expires {
                    self.link.set_proof(proof);
                }
                Ok(())
            }
            _ => Err(LinkError::Refused("the newer ticket it shows is worth nothing here")),
        }
    }

    /// Takes what the peer says about itself.
    pub(crate) fn extended(&mut self, told: &ExtendedHandshake) -> Result<(), LinkError> {
        self.link.set_part_ids(told.metadata_id, told.chain_id);
        self.link.set_ticket_id(told.ticket_id);
        if let Some(requests_max) = told.requests_max {
            self.download(|download, _| {
                download.requests_allowed(self.link.key, requests_taken(requests_max))
            });
        }
        let mut state = self.torrent.state.lock();
        if let Some(transfer) = &mut state.transfer {
            transfer.offered_parts(self.link.key, told);
        }
        self.torrent.ask_parts(&mut state);
        Ok(())
    }
}

impl TransferPart {
    /// A link says which of what comes in parts it has.
    fn offered_parts(&mut self, link: LinkKey, told: &ExtendedHandshake) {
        if let (Some(fetch), Some(_), Some(len)) =
            (&mut self.fetch, told.metadata_id, told.metadata_size)
        {
            fetch.offer(link, len);
        }
        // The list of other facts about the same content is of no use, and no lie.
        if let (Some(fetch), Some(_)) = (&mut self.chain_fetch, told.chain_id)
            && told.chain.is_some()
            && told.chain == self.facts.chain
        {
            fetch.offer_all(link);
        }
    }

    /// Everything that a piece is checked by is here, or is done without.
    fn collected(&mut self) {
        if self.is_collecting() {
            return;
        }
        if self.life == TransferState::Metainfo {
            self.life = TransferState::Downloading;
        }
        if let Some(download) = &mut self.download {
            download.held(false);
        }
    }
}

impl Torrent {
    /// Asks links for the parts that are missing.
    pub(crate) fn ask_parts(&self, state: &mut State) {
        let (now, State { transfer, links, .. }) = (self.now(), state);
        let Some(transfer) = transfer else { return };
        for of in [PartsOf::Metainfo, PartsOf::Chain] {
            let Some(fetch) = transfer.parts(of) else { continue };
            for (link, part) in fetch.ask(now) {
                if let Some(link) = links.get(&link) {
                    link.send_part(of, || MetadataMessage::Request { part }.encode());
                }
            }
        }
    }

    /// Goes on without the chaining values if the links that have pieces do not have them, as those
    /// of an earlier version, or do not send them. The whole is hashed at the end then.
    pub(crate) fn give_chain_up(&self, state: &mut State, now: Duration) {
        let State { transfer: Some(transfer), links, .. } = state else { return };
        let has_pieces = |link: &LinkKey| {
            let stats = transfer.download.as_ref().and_then(|download| download.link_stats(*link));
            stats.is_some_and(|stats| stats.pieces > 0)
        };
        let Some(fetch) = &transfer.chain_fetch else { return };
        if transfer.fetch.is_some() || !links.keys().any(has_pieces) {
            transfer.chain_missing = None;
            return;
        }
        let since = (!fetch.has_sources()).then(|| transfer.chain_missing.unwrap_or(now));
        let is_stalled = fetch.stalled_for(now) >= PART_TIMEOUT + CHAIN_WAIT;
        transfer.chain_missing = since;
        if is_stalled || since.is_some_and(|since| now.saturating_sub(since) >= CHAIN_WAIT) {
            log::info!("{}: no member has its chaining values", self.info_hash);
            transfer.chain_fetch = None;
            transfer.collected();
        }
    }

    fn part_told(self: &Arc<Self>, link: &Arc<Link>, of: PartsOf, message: MetadataMessage) {
        match message {
            MetadataMessage::Request { part } => self.part_asked(link, of, part),
            MetadataMessage::Data { part, bytes, .. } => self.part_came(link, of, part, bytes),
            MetadataMessage::Reject { .. } => {
                let mut state = self.state.lock();
                let fetch =
                    state.transfer.as_mut().and_then(|transfer| transfer.parts(of).as_mut());
                if let Some(fetch) = fetch {
                    fetch.refuse(link.key);
                }
                self.ask_parts(&mut state);
            }
            MetadataMessage::Unknown { .. } => {}
        }
    }

    fn part_asked(&self, link: &Link, of: PartsOf, part: u32) {
        let answer = |whole: &[u8]| {
            let bytes = whole.chunks(METADATA_PART_LEN).nth(part as usize)?.to_vec();
            Some(MetadataMessage::Data { part, total: whole.len() as u64, bytes })
        };
        let data = || match of {
            _ if link.one_way => None,
            PartsOf::Metainfo => self.dictionary().and_then(|bytes| answer(&bytes)),
            PartsOf::Chain => self.chaining_values().and_then(|values| answer(values.as_bytes())),
        };
        link.send_part(of, || data().unwrap_or(MetadataMessage::Reject { part }).encode());
    }

    fn part_came(self: &Arc<Self>, link: &Arc<Link>, of: PartsOf, part: u32, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let now = self.now();
        let Some(transfer) = &mut state.transfer else { return };
        let facts = transfer.facts.clone();
        let Some(fetch) = transfer.parts(of) else { return };
        let collected = fetch.part(now, link.key, part, bytes);
        transfer.parts_came += u64::from(!matches!(collected, Collected::Unasked));
        let Collected::Bytes(bytes, id) = collected else {
            return self.ask_parts(&mut state);
        };
        drop(state);
        let is_good = match of {
            PartsOf::Metainfo => {
                parts::check(&bytes, &facts).map(|metainfo| self.metainfo_came(Arc::new(metainfo)))
            }
            PartsOf::Chain => parts::check_chain(&bytes, &facts, self.geometry)
                .map(|chain| self.chain_came(chain, &facts)),
        };
        if is_good.is_none() {
            let mut state = self.state.lock();
            let State { transfer, links, peers, .. } = &mut *state;
            let fetch = transfer.as_mut().and_then(|transfer| transfer.parts(of).as_mut());
            let Some(fetch) = fetch else { return };
            if let Some(liar) = fetch.bad(&id).and_then(|liar| links.get(&liar)) {
                peers.ban(liar);
            }
            self.ask_parts(&mut state);
        }
    }

    fn metainfo_came(self: &Arc<Self>, metainfo: Arc<Metainfo>) {
        // It may be known by now because the file is offered meanwhile.
        if self.metainfo.set(metainfo.clone()).is_ok() {
            self.engine.host.metainfo(self.info_hash, &metainfo);
        }
        self.collected(PartsOf::Metainfo, |_| true);
    }

    fn chain_came(self: &Arc<Self>, chain: Chain, facts: &FileFacts) {
        self.engine.host.chain(self.info_hash, chain.values());
        self.collected(PartsOf::Chain, |transfer| {
            // Another download of the content may have begun, by another listing.
            let is_its = transfer.facts == *facts;
            if is_its {
                transfer.chain = Some(Arc::new(chain));
            }
            is_its
        });
    }

    /// What was collected is here; unless the download that needs it has ended, it goes on.
    fn collected(self: &Arc<Self>, of: PartsOf, keep: impl FnOnce(&mut TransferPart) -> bool) {
        let mut state = self.state.lock();
        let Some(transfer) = state.transfer.as_mut() else { return };
        if transfer.parts(of).is_none() || !keep(transfer) {
            return;
        }
        *transfer.parts(of) = None;
        transfer.collected();
        self.drive(&mut state);
        let links: Vec<Arc<Link>> =
            state.links.values().filter(|link| link.extensions).cloned().collect();
        drop(state);
        // Whoever linked before we knew it may want it from us.
        let told = crate::swarm::engine::opening::our_extensions(self);
        links.iter().for_each(|link| link.send(&told));
        self.changed.notify_all();
    }
}
