//! What commands of the operator have in common: asking the core, and having it carry out an order.

use std::time::Duration;

use log::info;
use serde_json::Value;

use super::{AdminError, Line, Sink};
use crate::directory::Asked;
use crate::tracker::audit::note_of_order;
use crate::tracker::core::View;
use crate::tracker::shared::Shared;
use crate::types::{Change, Order, RequestId, RequestStamp, Stamp, UserId, escape};

/// How long a change may take: a tracker that is silent is waited for only a second.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the core.
///
/// # Errors
/// [`AdminError::Ended`].
pub(super) fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
) -> Result<T, AdminError> {
    shared.core.ask(question).ok_or(AdminError::Ended)
}

/// Has an order carried out; returns when it is safe. `name` is for the audit, which finds nothing
/// behind the id of what was deleted.
///
/// # Errors
/// The directory's refusal; [`AdminError::Late`] if it is not known what came of it.
pub(super) fn order(shared: &Shared, order: Order, name: Option<&str>) -> Result<(), AdminError> {
    let now_ms = ask(shared, |view| view.now_ms)?;
    let request =
        RequestStamp { id: RequestId::from_bytes(rand::random()), at: Stamp::new(now_ms, 0) };
    let note = note_of_order(&order, name);
    info!("operator: {}", escape(&note));
    let asked = Asked { actor: UserId::NOBODY, request, change: Change::Operator(order), note };
    let changed = shared.core.begin_change(None, asked).ok_or(AdminError::Ended)?;
    let changed = changed.wait_for(Some(CHANGE_TIMEOUT)).ok_or(AdminError::Late)?;
    changed.outcome.map(drop).map_err(AdminError::from)
}

/// Sets something.
///
/// # Errors
/// As [`order`].
pub(super) fn set(shared: &Shared, name: &str, value: Option<String>) -> Result<(), AdminError> {
    let name = name.parse().map_err(|e| AdminError::Usage(format!("{e}")))?;
    order(shared, Order::Set { name, value }, None)
}

/// Ends an answer of one line.
pub(super) fn done(out: Sink<'_>, text: String, json: Value) -> Result<(), AdminError> {
    Ok(out(Line::new(text, json))?)
}

/// Finds a user by name as shown.
///
/// # Errors
/// [`AdminError::Failed`].
pub(super) fn find_user(shared: &Shared, name: &str) -> Result<UserId, AdminError> {
    let asked = name.to_owned();
    let found = ask(shared, move |view| view.directory().find_user(&asked))?;
    found.ok_or_else(|| AdminError::Failed(format!("no such user: {name}; `users` lists all")))
}
