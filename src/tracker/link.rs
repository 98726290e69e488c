//! The core's ends of the replication links: where what the replica sends goes.
//!
//! **Invariant:** handing something to a link never blocks; a link that does not take it is closed,
//! and dialled again.

use std::collections::HashMap;
use std::sync::Arc;

use log::{error, warn};

use super::clock::wall_ms;
use super::shared::Shared;
use super::sink::{LinkSink, Order};
use crate::directory::LinkId;
use crate::types::{SyncMessage, VersionVector};
use crate::wire::frame::to_frame;
use crate::wire::replication::{ReplicaWelcome, ToDialler};

/// All links that stand.
#[derive(Debug)]
pub(crate) struct Links {
    shared: Arc<Shared>,
    /// Each with whether it has been greeted.
    links: HashMap<LinkId, (LinkSink, bool)>,
}

impl Links {
    /// Starts without links.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, links: HashMap::new() }
    }

    /// Notes a link.
    pub(crate) fn add(&mut self, link: LinkId, sink: LinkSink) {
        self.links.insert(link, (sink, false));
    }

    /// Forgets a link that has gone.
    pub(crate) fn remove(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Ends a link and forgets it.
    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some((sink, _)) = self.links.remove(&link) {
            sink.close();
        }
    }

    /// Sends a message; to a link that has gone, it is lost. The first vector of an accepted link
    /// goes with the welcome, which says whether this store is empty.
    pub(crate) fn send(&mut self, link: LinkId, message: SyncMessage, is_empty: bool) {
        let Some((sink, greeted)) = self.links.get_mut(&link) else { return };
        match (sink, message) {
            (LinkSink::Dialled { .. }, SyncMessage::Rows(batch)) => {
                self.order(link, Order::Rows(batch))
            }
            (LinkSink::Dialled { .. }, SyncMessage::MustResync) => {
                self.order(link, Order::MustResync)
            }
            (LinkSink::Accepted(outbox, version), SyncMessage::Durable(durable)) => {
                let answer = if std::mem::replace(greeted, true) {
                    ToDialler::Durable(durable)
                } else {
                    ToDialler::Welcome(ReplicaWelcome {
                        version: *version,
                        number: self.shared.number,
                        address: self.shared.own_label(),
                        lineage: self.shared.lineage.clone(),
                        clock_ms: wall_ms(self.shared.limits.clock_offset_ms),
                        is_empty,
                        durable,
                        trackers: self.shared.tracker_labels(),
                    })
                };
                outbox.push(to_frame(&answer).into());
            }
            _ => {
                error!(
                    "{link}: the replica sent a message in the wrong direction; the link is dropped"
                );
                self.close(link);
            }
        }
    }

    /// Sends rows from the store; to a link that has gone, they are lost.
    pub(crate) fn send_stored(
        &mut self,
        link: LinkId,
        after: u64,
        through: u64,
        known: VersionVector,
    ) {
        self.order(link, Order::Stored { after, through, known });
    }

    fn order(&mut self, link: LinkId, order: Order) {
        if let Some((LinkSink::Dialled { orders, .. }, _)) = self.links.get(&link)
            && orders.try_send(order).is_err()
        {
            warn!("{link}: it does not keep up; it is closed and dialled again");
            self.close(link);
        }
    }
}
