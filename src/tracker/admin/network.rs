//! Adds trackers to a running network, and removes them.
//!
//! **Invariant:** a number names one tracker at a time. The number of a tracker that was removed is
//! given to the next one, so that the lines of a `tracker_info.txt` have no gaps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::asking::{ask, done, set};
use super::command::Which;
use super::{AdminError, Sink};
use crate::tracker::shared::Shared;
use crate::types::limits::TRACKERS_MAX;
use crate::types::{RotationStage, TrackerAddress};

/// By then a number that was given away at another tracker at the same moment is known here:
/// trackers that take longer to hear of a change do not count as up.
const SETTLES: Duration = Duration::from_millis(1500);

/// Adds a tracker, and says what to do on its machine.
///
/// # Errors
/// It is there already, there are as many as there may be, or the directory's reason.
///
/// # Blocking
/// Until the change is safe.
pub(super) fn add(
    shared: &Shared,
    address: &TrackerAddress,
    out: Sink<'_>,
) -> Result<(), AdminError> {
    let mut trackers = shared.trackers.lock().clone();
    if let Some((number, _)) = trackers.iter().find(|(_, known)| *known == address) {
        return Err(AdminError::Failed(format!(
            "{address} is tracker {number} of this network already"
        )));
    }
    let number = loop {
        let Some(number) = (1..=TRACKERS_MAX as u32).find(|number| !trackers.contains_key(number))
        else {
            return Err(AdminError::Failed(format!(
                "a network has at most {TRACKERS_MAX} trackers"
            )));
        };
        set(shared, &format!("tracker.{number}"), Some(address.to_string()))?;
        if trackers.len() > 1 {
            shared.stop.wait(SETTLES);
        }
        let settings = ask(shared, |view| view.directory().settings())?;
        let there = settings.trackers.get(&number).cloned().flatten();
        if there.as_deref() == Some(&address.to_string()) {
            // What the one before it said of its keys is not said of this one.
            if settings.key_holders.contains_key(&number) {
                set(shared, &format!("key.holder.{number}"), None)?;
            }
            break number;
        }
        // Another operator has given the number away at the same moment, and that write stands.
        trackers = shared.trackers.lock().clone();
        if let Some((number, _)) = trackers.iter().find(|(_, known)| *known == address) {
            break *number;
        }
    };
    trackers.insert(number, address.clone());
    let file = tracker_info(shared, &trackers);
    let is_replaced = shared
        .keys
        .ring()
        .rotation()
        .is_some_and(|rotation| rotation.stage == RotationStage::Begun);
    let keys = if is_replaced { "network.key and network.key.next" } else { "network.key" };
    let text = format!(
        "{address} is tracker {number} now. On its machine:\n\
         1. copy {keys} there from the machine of another tracker (scp -p)\n\
         2. write this tracker_info.txt:\n{file}3. tracker tracker_info.txt {number} --network-key network.key\n\
         Write the same lines into the tracker_info.txt of the other trackers before their next start, and hand it out to new \
         clients; those that are connected know already."
    );
    let json = json!({ "number": number, "address": address.to_string(), "tracker_info": file });
    done(out, text, json)
}

/// Removes a tracker.
///
/// # Errors
/// It is not there, or this one, or the directory's reason.
///
/// # Blocking
/// Until the change is safe.
pub(super) fn remove(shared: &Shared, which: &Which, out: Sink<'_>) -> Result<(), AdminError> {
    let trackers = shared.trackers.lock().clone();
    let found = match which {
        Which::Number(number) => trackers.get_key_value(number),
        Which::Address(address) => trackers.iter().find(|(_, known)| *known == address),
    };
    let Some((&number, address)) = found else {
        return Err(AdminError::Failed("there is no such tracker; `status` lists all".to_owned()));
    };
    if number == shared.number {
        return Err(AdminError::Failed(
            "that is this tracker itself; say it to another one".to_owned(),
        ));
    }
    set(shared, &format!("tracker.{number}"), Some("removed".to_owned()))?;
    let text = format!(
        "tracker {number} at {address} is removed; stop it now. Leave its line in every tracker_info.txt until another takes its \
         number: without it the numbers of those behind it change"
    );
    done(out, text, json!({ "number": number, "address": address.to_string() }))
}

/// The lines of the network's file. A number that no tracker has now keeps the line of the tracker
/// that had it.
fn tracker_info(shared: &Shared, trackers: &BTreeMap<u32, TrackerAddress>) -> String {
    let last = trackers.keys().next_back().copied().unwrap_or(0);
    let line = |number| trackers.get(&number).or_else(|| shared.info.get(number));
    let lines: String = (1..=last).filter_map(line).map(|address| format!("{address}\n")).collect();
    format!("network {}\n{lines}", shared.keys.ring().fingerprint())
}
