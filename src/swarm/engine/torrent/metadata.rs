//! The metainfo and the chaining values: asking members for them, in parts, and serving them (BEP
//! 9, BEP 10).
//!
//! **Invariant:** either is used only after it was checked against its hash and the facts.
//!
//! Called on the links' reader threads and the timer's; checking is done without the lock.

use std::sync::Arc;
use std::time::Duration;

use super::{Torrent, TorrentState};
use crate::swarm::engine::record::DownloadRecord;
use crate::swarm::link::handshake::{CHAIN_ID, METADATA_ID, TICKET_ID};
use crate::swarm::link::{Link, PartsOf};
use crate::swarm::pick::chain::Chain;
use crate::swarm::pick::parts::{self, Collected, PART_TIMEOUT};
use crate::swarm::{LinkKey, REQUESTS_MAX};
use crate::types::limits::{BLOCK_LEN_MAX, METADATA_PART_LEN};
use crate::types::{ChainingValues, FileFacts};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{EXTENDED_HANDSHAKE_ID, ExtendedHandshake, MetadataMessage, PeerMessage};

/// How long a download waits for a link that has the chaining values, while others have pieces.
const CHAIN_WAIT: Duration = Duration::from_secs(5);

impl Torrent {
    /// Makes the extension handshake: what we take, and what we have of what comes in parts.
    pub(crate) fn extended_handshake(&self) -> PeerMessage {
        let config = &self.services.config;
        let handshake = ExtendedHandshake {
            metadata_id: Some(METADATA_ID),
            metadata_size: self.dictionary().map(|bytes| bytes.len() as u64),
            requests_max: Some(REQUESTS_MAX as u32),
            client: Some(concat!("Posse ", env!("CARGO_PKG_VERSION")).to_owned()),
            port: config.port.filter(|port| *port != 0),
            ticket_id: Some(TICKET_ID),
            block_len_max: Some(BLOCK_LEN_MAX),
            chain_id: Some(CHAIN_ID),
            chain: self.chaining_values().map(|values| values.hash()),
        };
        PeerMessage::Extended { id: EXTENDED_HANDSHAKE_ID, payload: handshake.encode() }
    }

    /// Notes which of what comes in parts a link says that it has.
    pub(crate) fn note_offered_parts(&self, link: &Link, told: &ExtendedHandshake) {
        let mut state = self.state.lock();
        if let Some(transfer) = &mut state.transfer {
            if let (Some(fetch), Some(_), Some(len)) =
                (&mut transfer.metainfo_fetch, told.metadata_id, told.metadata_size)
            {
                fetch.offer(link.key, len);
            }
            // A list of other facts about the same content is of no use, and no lie.
            if let (Some(fetch), Some(_), Some(hash)) =
                (&mut transfer.chain_fetch, told.chain_id, told.chain)
                && transfer.facts.chain == Some(hash)
            {
                fetch.offer_all(link.key);
            }
        }
        self.ask_parts(&mut state);
    }

    pub(super) fn ask_parts(&self, state: &mut TorrentState) {
        let (now, TorrentState { transfer, links, .. }) = (self.now(), state);
        let Some(transfer) = transfer else { return };
        for of in [PartsOf::Metainfo, PartsOf::Chain] {
            let Some(fetch) = transfer.parts(of) else { continue };
            for (link, part) in fetch.ask(now) {
                if let Some(link) = links.get(link) {
                    link.send_part(of, || MetadataMessage::Request { part }.encode());
                }
            }
        }
    }

    /// Goes on without the chaining values if the links that have pieces do not have them, as those
    /// of an earlier version, or do not send them. The whole file is hashed at the end then.
    pub(super) fn give_chain_up(&self, state: &mut TorrentState) {
        let now = self.now();
        let TorrentState { transfer: Some(transfer), links, .. } = state else { return };
        let has_pieces = |link: LinkKey| {
            let stats = transfer.download.as_ref().and_then(|download| download.link_stats(link));
            stats.is_some_and(|stats| stats.pieces > 0)
        };
        let Some(fetch) = &transfer.chain_fetch else { return };
        if transfer.metainfo_fetch.is_some() || !links.iter().any(|link| has_pieces(link.key)) {
            transfer.chain_missing = None;
            return;
        }
        let since = (!fetch.has_sources()).then(|| transfer.chain_missing.unwrap_or(now));
        let is_stalled = fetch.stalled_for(now) >= PART_TIMEOUT + CHAIN_WAIT;
        transfer.chain_missing = since;
        if is_stalled || since.is_some_and(|since| now.saturating_sub(since) >= CHAIN_WAIT) {
            log::info!("{}: no member has its chaining values", self.info_hash);
            transfer.chain_fetch = None;
            transfer.end_collecting();
        }
    }

    pub(crate) fn part_message(
        self: &Arc<Self>,
        link: &Link,
        of: PartsOf,
        message: MetadataMessage,
    ) {
        match message {
            MetadataMessage::Request { part } => self.send_part(link, of, part),
            MetadataMessage::Data { part, bytes, .. } => self.part_received(link, of, part, bytes),
            MetadataMessage::Reject { .. } => {
                let mut state = self.state.lock();
                let fetch = state.transfer.as_mut().and_then(|t| t.parts(of).as_mut());
                if let Some(fetch) = fetch {
                    fetch.refuse(link.key);
                }
                self.ask_parts(&mut state);
            }
            MetadataMessage::Unknown { .. } => {}
        }
    }

    fn send_part(&self, link: &Link, of: PartsOf, part: u32) {
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

    fn part_received(self: &Arc<Self>, link: &Link, of: PartsOf, part: u32, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let now = self.now();
        let Some(transfer) = &mut state.transfer else { return };
        let facts = transfer.facts.clone();
        let Some(fetch) = transfer.parts(of) else { return };
        let collected = fetch.part(now, link.key, part, bytes);
        transfer.parts_received += u64::from(!matches!(collected, Collected::Unasked));
        let Collected::Bytes(bytes, collection) = collected else {
            return self.ask_parts(&mut state);
        };
        drop(state);
        let is_good = match of {
            PartsOf::Metainfo => parts::check(&bytes, &facts)
                .map(|metainfo| self.metainfo_collected(Arc::new(metainfo))),
            PartsOf::Chain => parts::check_chain(&bytes, &facts, self.geometry)
                .map(|chain| self.chain_collected(chain, &facts)),
        };
        if is_good.is_none() {
            let mut state = self.state.lock();
            let TorrentState { transfer, links, peers, .. } = &mut *state;
            let fetch = transfer.as_mut().and_then(|transfer| transfer.parts(of).as_mut());
            let Some(fetch) = fetch else { return };
            if let Some(liar) = fetch.restart(&collection).and_then(|liar| links.get(liar)) {
                peers.ban(liar);
            }
            self.ask_parts(&mut state);
        }
    }

    fn metainfo_collected(self: &Arc<Self>, metainfo: Arc<Metainfo>) {
        // It is known already if the file was offered meanwhile.
        if self.metainfo.set(metainfo.clone()).is_ok() {
            self.services.host.metainfo(self.info_hash, &metainfo);
        }
        self.collected(PartsOf::Metainfo, |_| true);
    }

    fn chain_collected(self: &Arc<Self>, chain: Chain, facts: &FileFacts) {
        self.services.host.chain(self.info_hash, chain.values());
        self.collected(PartsOf::Chain, |transfer| {
            // Another download of the content may have begun, by another listing.
            let is_its = transfer.facts == *facts;
            if is_its {
                transfer.chain = Some(Arc::new(chain));
            }
            is_its
        });
    }

    /// Has the download that needs what was collected go on, unless it has ended, and offers that
    /// to the links.
    fn collected(self: &Arc<Self>, of: PartsOf, keep: impl FnOnce(&mut DownloadRecord) -> bool) {
        let mut state = self.state.lock();
        let Some(transfer) = state.transfer.as_mut() else { return };
        if transfer.parts(of).is_none() || !keep(transfer) {
            return;
        }
        *transfer.parts(of) = None;
        transfer.end_collecting();
        self.drive(&mut state);
        let links: Vec<_> = state.links.iter().filter(|link| link.extensions).cloned().collect();
        drop(state);
        let told = self.extended_handshake();
        links.iter().for_each(|link| link.send(&told));
        self.changed.notify_all();
    }

    /// Returns the file's chaining values, if we have them and there are any.
    fn chaining_values(&self) -> Option<Arc<ChainingValues>> {
        let state = self.state.lock();
        let seeded = state.seed.as_ref().and_then(|seed| seed.chain.as_ref());
        let chain = state.transfer.as_ref().and_then(|transfer| transfer.chain.as_ref());
        let values = seeded.or(chain.map(|chain| chain.values()));
        values.filter(|values| !values.values().is_empty()).cloned()
    }

    /// Returns the encoded metainfo, which is kept while there are links.
    fn dictionary(&self) -> Option<Arc<Vec<u8>>> {
        let metainfo = self.metainfo.get()?;
        if let Some(bytes) = &self.state.lock().dictionary {
            return Some(bytes.clone());
        }
        let bytes = Arc::new(Metainfo::to_bytes(metainfo));
        self.state.lock().dictionary = Some(bytes.clone());
        Some(bytes)
    }
}
