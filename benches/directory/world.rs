//! A tracker's directory over its own store, in this process.

use std::path::Path;

use posse::directory::{Asked, Directory, ENTRIES_VERSION, LinkId, Output, Replica, Ticket};
use posse::store::{Entries, RowStore};
use posse::types::limits::{RETENTION, ROWS_PER_BATCH_MAX};
use posse::types::{
    Change, Lineage, Order, Place, Refusal, RequestId, RequestStamp, Row, RowBatch, Stamp, StoreId,
    SyncMessage, UserId,
};

use crate::NOW_MS;
use crate::support::Result;

/// Rows in one batch from another tracker.
pub(crate) const BATCH_LEN: usize = ROWS_PER_BATCH_MAX / 4;

/// A tracker's directory as it is after a start.
pub(crate) struct World {
    pub(crate) replica: Replica<RowStore>,
    pub(crate) now_ms: u64,
}

impl World {
    /// Opens the store in a directory, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut store = RowStore::open(dir, StoreId::from_bytes(rand::random()))?;
        let entries = store.begin_entries(ENTRIES_VERSION)?;
        let state = store.state();
        let mut directory = Directory::new(store);
        if let Entries::Behind(through) = entries {
            directory.make_entries(through, |store, through| {
                store.pause_entries(ENTRIES_VERSION, through)
            })?;
            directory.rows_mut().end_entries(ENTRIES_VERSION)?;
        }
        Ok(Self { replica: Replica::over(directory, state, &[]), now_ms: NOW_MS })
    }

    /// Takes rows that another tracker has sent, as one transaction.
    pub(crate) fn merge(&mut self, rows: Vec<Row>, through: u64) -> Result<()> {
        self.replica.handle(
            self.now_ms,
            LinkId::From(1),
            SyncMessage::Rows(RowBatch { rows, through, complete: None }),
        );
        self.commit().map(drop)
    }

    /// Begins to take rows from another tracker.
    pub(crate) fn link(&mut self, from: StoreId) -> Result<()> {
        self.replica.connected(self.now_ms, LinkId::From(1), &Lineage::new(from));
        self.commit().map(drop)
    }

    /// Makes what has been done durable; returns the refusals.
    pub(crate) fn commit(&mut self) -> Result<Vec<Refusal>> {
        let (mut transactions, mut refusals) = (Vec::new(), Vec::new());
        let mut drain = |replica: &mut Replica<RowStore>| {
            let mut transactions = Vec::new();
            while let Some(output) = replica.poll() {
                match output {
                    Output::Persist(transaction) => transactions.push(transaction),
                    Output::Reply(_, Err(refusal)) => refusals.push(refusal),
                    _ => {}
                }
            }
            transactions
        };
        transactions.append(&mut drain(&mut self.replica));
        self.replica.store_mut().commit(&transactions)?;
        self.replica.persisted(self.now_ms);
        drain(&mut self.replica);
        Ok(refusals)
    }

    /// Deletes what is older than the retention time.
    pub(crate) fn sweep(&mut self, now_ms: u64) -> Result<()> {
        loop {
            let before_ms = now_ms.saturating_sub(RETENTION.as_millis() as u64);
            let (rows, swept) = self.replica.store_mut().old_rows(before_ms, 20_000)?;
            if rows.is_empty() {
                return Ok(());
            }
            self.replica.sweep(&rows, swept, false);
            self.replica.store_mut().flush()?;
        }
    }

    /// Sets quotas so high that a large directory is within them. `asked` requests were made before;
    /// returns how many this makes.
    pub(crate) fn lift_quotas(&mut self, asked: u64) -> Result<u64> {
        let quotas = ["quota.rows", "quota.bytes"];
        for (next, quota) in (asked + 1..).zip(quotas) {
            let id = RequestId::from_bytes(rand::random());
            let request = RequestStamp { id, at: Stamp::new(self.now_ms + next, 0) };
            let order = Order::Set { name: quota.parse()?, value: Some(u64::MAX.to_string()) };
            let change = Change::Operator(order);
            let asked = Asked { actor: UserId::NOBODY, request, change, note: String::new() };
            self.replica.submit(self.now_ms + next, Ticket(next), asked);
        }
        let refused = self.commit()?.first().map(ToString::to_string);
        refused.map_or(Ok(quotas.len() as u64), |refusal| Err(refusal.into()))
    }
}

/// Takes all these rows, which another tracker sends; returns how many there were.
pub(crate) fn merge_all(
    world: &mut World,
    rows: impl Iterator<Item = Row>,
    from: StoreId,
) -> Result<u64> {
    let (mut batch, mut count, mut through) = (Vec::new(), 0, 0);
    let mut rows = rows.peekable();
    while let Some(mut row) = rows.next() {
        row.place = Place { store: from, sequence: through + 1 };
        batch.push(row);
        count += 1;
        if batch.len() == BATCH_LEN || rows.peek().is_none() {
            through += 1;
            world.merge(std::mem::take(&mut batch), through)?;
        }
    }
    world.replica.store_mut().flush()?;
    Ok(count)
}
