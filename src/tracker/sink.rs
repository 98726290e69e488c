//! Where the messages of one replication link go.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::outbox::Outbox;
use crate::net::Connection;
use crate::types::{RowBatch, VersionVector};

/// Orders that may wait at a dialled link: the replica has one batch under way at a time, so a few
/// are plenty.
pub(crate) const ORDERS_MAX: usize = 16;

/// What the thread of a dialled link is to send.
#[derive(Debug)]
pub(crate) enum Order {
    /// These rows.
    Rows(RowBatch),
    /// Rows to be read from the store.
    Stored {
        /// Above this update sequence.
        after: u64,
        /// Up to this one.
        through: u64,
        /// Rows from places known there need not be sent.
        known: VersionVector,
    },
    /// The other end must start anew.
    MustResync,
}

/// Where a link's messages go.
#[derive(Debug)]
pub(crate) enum LinkSink {
    /// To the thread that dialled.
    Dialled {
        /// Its orders.
        orders: Sender<Order>,
        /// Closed to end the link.
        connection: Connection,
    },
    /// To the connection that was accepted, with the version spoken on it.
    Accepted(Arc<Outbox>, u16),
}

impl LinkSink {
    /// Ends the link; its thread notices.
    pub(crate) fn close(&self) {
        match self {
            Self::Dialled { connection, .. } => connection.close(),
            Self::Accepted(outbox, _) => outbox.close(),
        }
    }
}
