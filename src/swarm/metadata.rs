//! The metainfo between links: asking for it and serving it (BEP 9, BEP 10).
//!
//! **Invariant:** a metainfo is used only after it was checked against the info hash and the facts.
//!
//! Called on the links' reader threads; checking is done without the lock.

use std::sync::Arc;
use std::time::Instant;

use super::api::TransferState;
use super::fetch::{self, Collected};
use super::link::Link;
use super::session::{LinkError, METADATA_ID, Session, TICKET_ID, requests_taken};
use super::torrent::{State, Torrent};
use crate::types::Ticket;
use crate::types::limits::METADATA_PART_LEN;
use crate::wire::Wire;
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{EXTENDED_HANDSHAKE_ID, ExtendedHandshake, MetadataMessage, PeerError};

impl Session<'_> {
    /// Takes a message of an extension.
    pub(super) fn extension(&mut self, id: u8, payload: &[u8]) -> Result<(), LinkError> {
        match id {
            EXTENDED_HANDSHAKE_ID => {
                self.extended(&ExtendedHandshake::decode(payload).map_err(PeerError::from)?)
            }
            METADATA_ID => {
                let message = MetadataMessage::decode(payload).map_err(PeerError::from)?;
                if matches!(message, MetadataMessage::Request { .. }) {
                    self.manners.part_asked().map_err(LinkError::Violation)?;
                }
                self.torrent.metadata(self.link, message);
                Ok(())
            }
            TICKET_ID => self.newer_ticket(payload),
            _ => Ok(()),
        }
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
    pub(super) fn extended(&mut self, told: &ExtendedHandshake) -> Result<(), LinkError> {
        self.link.set_metadata_id(told.metadata_id);
        self.link.set_ticket_id(told.ticket_id);
        if let Some(requests_max) = told.requests_max {
            self.download(|download, _| {
                download.requests_allowed(self.link.key, requests_taken(requests_max))
            });
        }
        if let (Some(_), Some(len)) = (told.metadata_id, told.metadata_size) {
            let mut state = self.torrent.state.lock();
            if let Some(fetch) =
                state.transfer.as_mut().and_then(|transfer| transfer.fetch.as_mut())
            {
                fetch.offer(self.link.key, len);
            }
            self.torrent.ask_metainfo(&mut state);
        }
        Ok(())
    }
}

impl Torrent {
    /// Asks links for the parts of the metainfo that are missing.
    pub(super) fn ask_metainfo(&self, state: &mut State) {
        let now = self.now();
        let Some(fetch) = state.transfer.as_mut().and_then(|transfer| transfer.fetch.as_mut())
        else {
            return;
        };
        for (link, part) in fetch.ask(now) {
            if let Some(link) = state.links.get(&link) {
                link.send_metadata(|| MetadataMessage::Request { part }.encode());
            }
        }
    }

    fn metadata(self: &Arc<Self>, link: &Arc<Link>, message: MetadataMessage) {
        match message {
            MetadataMessage::Request { part } => {
                let dictionary = self.dictionary().filter(|_| !link.one_way);
                let bytes = dictionary
                    .as_ref()
                    .and_then(|bytes| bytes.chunks(METADATA_PART_LEN).nth(part as usize));
                link.send_metadata(|| match (bytes, &dictionary) {
                    (Some(bytes), Some(whole)) => MetadataMessage::Data {
                        part,
                        total: whole.len() as u64,
                        bytes: bytes.to_vec(),
                    }
                    .encode(),
                    _ => MetadataMessage::Reject { part }.encode(),
                });
            }
            MetadataMessage::Data { part, bytes, .. } => self.metadata_part(link, part, bytes),
            MetadataMessage::Reject { .. } => {
                let mut state = self.state.lock();
                if let Some(fetch) =
                    state.transfer.as_mut().and_then(|transfer| transfer.fetch.as_mut())
                {
                    fetch.refuse(link.key);
                }
                self.ask_metainfo(&mut state);
            }
            MetadataMessage::Unknown { .. } => {}
        }
    }

    fn metadata_part(self: &Arc<Self>, link: &Arc<Link>, part: u32, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let now = self.now();
        let Some(transfer) = &mut state.transfer else { return };
        let facts = transfer.facts.clone();
        let Some(fetch) = &mut transfer.fetch else { return };
        let Collected::Bytes(bytes) = fetch.part(now, link.key, part, bytes) else {
            return self.ask_metainfo(&mut state);
        };
        drop(state);
        let checked = fetch::check(&bytes, &facts);
        match checked {
            Some(metainfo) => self.metainfo_came(Arc::new(metainfo)),
            None => {
                let mut state = self.state.lock();
                let State { transfer, links, peers, .. } = &mut *state;
                let Some(fetch) = transfer.as_mut().and_then(|transfer| transfer.fetch.as_mut())
                else {
                    return;
                };
                if let Some(liar) = fetch.bad().and_then(|liar| links.get(&liar)) {
                    peers.ban(liar);
                }
                self.ask_metainfo(&mut state);
            }
        }
    }

    fn metainfo_came(self: &Arc<Self>, metainfo: Arc<Metainfo>) {
        // It may be known by now because the file is offered meanwhile.
        if self.metainfo.set(metainfo.clone()).is_ok() {
            self.engine.host.metainfo(self.info_hash, &metainfo);
        }
        let mut state = self.state.lock();
        let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.fetch.is_some())
        else {
            return;
        };
        transfer.fetch = None;
        let begins = transfer.life == TransferState::Metainfo;
        if begins {
            transfer.life = TransferState::Downloading;
        }
        if let Some(download) = &mut transfer.download {
            download.held(false);
        }
        self.drive(&mut state);
        let links: Vec<Arc<Link>> =
            state.links.values().filter(|link| link.extensions).cloned().collect();
        drop(state);
        // Whoever linked before we knew it may want it from us.
        let told = super::opening::our_extensions(self);
        links.iter().for_each(|link| link.send(&told));
        self.changed.notify_all();
    }
}
