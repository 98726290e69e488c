//! The order of changes as users see it: what was asked after another change was acknowledged
//! stands.
//!
//! Two cases are left out, for the design does not cover them: rows of a tracker whose clock was so
//! far ahead that no client may ask as late, until they are written again; and writes that every
//! store which held them has lost by going back in time.

use std::rc::Rc;

use super::world::{Acknowledged, Request, World};
use crate::types::{RequestId, Row};

/// How much later than the acknowledgement of a change another client must ask to be later: the
/// estimates of the time of two clients are off by that much together, and some more.
const APART_MS: i64 = 50;

/// What was written that far ahead of time harms the rows it wrote, until they are written again
/// where that is known: a client may not ask as far ahead.
const FAR_MS: i64 = 30_000;

/// Checks the rows that stand: of two acknowledged changes of one row, the one that was asked after
/// the first was acknowledged is not overwritten by it. Between clients this holds for those whose
/// clocks are right.
pub(super) fn check_order(world: &World, are_clocks_right: bool) {
    for row in world.rows(0).values() {
        if row.content.is_final() {
            continue;
        }
        if let Some(later) = overwritten(world, row, are_clocks_right) {
            let first = &world.requests[&row.version.request];
            let second = &world.requests[&later];
            panic!("{row:?}\nof {first:?}\nhas overwritten what was asked later:\n{second:?}");
        }
    }
}

/// A change of that row that was asked after the change which stands was acknowledged.
fn overwritten(world: &World, row: &Rc<Row>, are_clocks_right: bool) -> Option<RequestId> {
    let (key, stands) = (row.content.key(), row.version.request);
    let by = world.requests.get(&stands)?;
    let acknowledged: Vec<&Acknowledged> =
        world.acknowledged.iter().filter(|a| a.request == stands).collect();
    let at_ms = acknowledged.iter().map(|a| a.at_ms).min()?;
    if row.version.stamp.ms() as i64 > at_ms + FAR_MS {
        return None;
    }
    let writes = |a: &&Acknowledged| {
        let is_later = |request: &Request| {
            // The client was told this stamp, and not that of another copy; and if its clock is far
            // behind, it cannot ask as late as it was told.
            let is_told =
                |a: &&Acknowledged| a.stamp == row.version.stamp && a.number < request.number;
            let is_above = are_clocks_right || request.stamp.at > row.version.stamp;
            (are_clocks_right && request.asked_ms > at_ms + APART_MS)
                || (request.client == by.client && acknowledged.iter().any(is_told) && is_above)
        };
        let request = &world.requests[&a.request];
        a.request != stands
            && !world.forgiven.contains(&(a.request, a.stamp))
            && world.writes[&a.request][&a.stamp].values().all(|keys| keys.contains(&key))
            && is_later(request)
    };
    world.acknowledged.iter().find(writes).map(|a| a.request)
}
