//! The links and the pieces of a download or a share, and what the client moves.
//!
//! **Invariant:** nothing here waits for the disk of a file, or for a tracker: what hangs is shown
//! as it is known. Names of users that are not known are asked for, and are there at a later look.

use super::error::ClientError;
use super::start::Client;
use crate::store::Progress;
use crate::swarm::{LinkPicture, PieceMap, Traffic};
use crate::types::{Bitfield, FileFacts, GroupId, Label};

/// A link to another device for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of its user, if it is known.
    pub user: Option<Label>,
    /// The link.
    pub link: LinkPicture,
}

/// A file that this device downloads or shares.
struct Known {
    facts: FileFacts,
    /// The journal of an unfinished download, if it has one; `None` if the whole file is here.
    have: Option<Option<Bitfield>>,
}

impl Client {
    /// The links for a file that this device downloads or shares, with what the directory says
    /// about the file.
    ///
    /// # Errors
    /// [`ClientError::NotHere`], [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst).
    pub fn peers(&self, group: &str, file: &str) -> Result<(FileFacts, Vec<Peer>), ClientError> {
        let inner = &self.inner;
        let known = self.known(group, file)?;
        let links = inner.engine().map(|engine| engine.link_pictures(known.facts.info_hash));
        let peers = links.unwrap_or_default().into_iter();
        let peers: Vec<Peer> =
            peers.map(|link| Peer { user: inner.names.user(link.user), link }).collect();
        let mut unknown: Vec<GroupId> =
            peers.iter().filter(|peer| peer.user.is_none()).map(|peer| peer.link.group).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.into_iter().for_each(|group| inner.learn_members_soon(group));
        Ok((known.facts, peers))
    }

    /// The pieces of a file that this device downloads or shares, with what the directory says
    /// about the file.
    ///
    /// # Errors
    /// [`ClientError::NotHere`], [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst).
    pub fn pieces(&self, group: &str, file: &str) -> Result<(FileFacts, PieceMap), ClientError> {
        let Known { facts, have } = self.known(group, file)?;
        let map = self.inner.engine().and_then(|engine| engine.piece_map(facts.info_hash));
        let map = map.unwrap_or_else(|| {
            let pieces = facts.piece_count();
            let empty = || Bitfield::empty(pieces);
            let have = have.map(|journal| journal.unwrap_or_else(empty));
            PieceMap::of(&have.unwrap_or_else(|| Bitfield::full(pieces)))
        });
        Ok((facts, map))
    }

    /// What has been moved since the login, and moves.
    pub fn traffic(&self) -> Traffic {
        self.inner.engine().map(|engine| engine.traffic()).unwrap_or_default()
    }

    fn known(&self, group: &str, file: &str) -> Result<Known, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?.user;
        let view = inner.view();
        let library = &view.library;
        if let Some(row) = library.find(group, file).map(|download| &download.row) {
            let verified = || row.verified.as_ref().map(|verified| verified.pieces.clone());
            let have = (row.progress != Progress::Complete).then(verified);
            return Ok(Known { facts: row.facts.clone(), have });
        }
        if let Some(row) = library.share_named(group, file).map(|share| &share.row) {
            return Ok(Known { facts: row.facts.clone(), have: None });
        }
        // Complete downloads may be in the store only.
        let row = inner.store.complete_download(user, group, file)?;
        row.map(|row| Known { facts: row.facts, have: None })
            .ok_or_else(|| ClientError::NotHere { group: group.into(), file: file.into() })
    }
}
