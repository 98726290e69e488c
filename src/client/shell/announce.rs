//! Tells of what happens by itself: events in JSON, announcements at a terminal, warnings
//! elsewhere.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, select};
use serde_json::json;

use super::escape::escape;
use super::output::{Format, Output};
use crate::client::{ClientEvent, SessionEnd};
use crate::net::Stop;
use crate::types::{Fingerprint, RotationStage};

/// The thread "announcer".
pub(super) struct Announcer {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    pub(super) fn start(events: Receiver<ClientEvent>, output: Output) -> Self {
        let stop = Stop::new();
        let stopped = stop.clone();
        let work = move || {
            loop {
                select! {
                    recv(events) -> event => match event {
                        Ok(event) => tell(&output, &event),
                        Err(_) => return,
                    },
                    recv(stopped.channel()) -> _ => break,
                }
            }
            events.try_iter().for_each(|event| tell(&output, &event));
        };
        // Without the thread the program works, and says less.
        let thread = std::thread::Builder::new().name("announcer".into()).spawn(work).ok();
        Self { stop, thread }
    }

    /// Tells what is still to tell, then ends.
    pub(super) fn stop(mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn tell(output: &Output, event: &ClientEvent) {
    match output.format() {
        Format::Json => tell_json(output, event),
        Format::Table => output.announce(&to_lines(event)),
        // In a script `wait` reports downloads; what nobody asked for would else go unseen.
        Format::Plain => match event {
            ClientEvent::ShareNotOffered { .. }
            | ClientEvent::TrustedNetwork { .. }
            | ClientEvent::ClocksDiffer { .. }
            | ClientEvent::StayingEnded { .. }
            | ClientEvent::SessionEnded { .. } => {
                output.error_line(&format!("warning: {}", escape(&to_lines(event).join(" "))));
            }
            _ => {}
        },
    }
}

/// What is said of a network that is trusted from now on. Its line is the one that its trackers
/// print, and that stands in tracker_info.txt.
fn trusted(
    network: &Fingerprint,
    before: Option<&Fingerprint>,
    unwritten: Option<&String>,
) -> Vec<String> {
    let begin = match before {
        None => "trusting the first network met; compare with the line its trackers print:",
        Some(_) => "trusting another network from now on, as you say:",
    };
    let mut lines = vec![begin.to_owned(), format!("network {network}")];
    lines.extend(before.map(|before| format!("before  {before}")));
    lines.extend(unwritten.map(|why| {
        format!(
            "this cannot be written down: {why}; the next start trusts the first network it meets"
        )
    }));
    lines
}

/// An event in words, as lines.
fn to_lines(event: &ClientEvent) -> Vec<String> {
    let text = match event {
        ClientEvent::TrustedNetwork { network, before, unwritten } => {
            return trusted(network, before.as_ref(), unwritten.as_ref());
        }
        ClientEvent::DownloadComplete { group, file, path } => {
            format!("[C] [{group}] {file}  {}", path.display())
        }
        ClientEvent::DownloadFailed { group, file, reason } => {
            format!("[F] [{group}] {file}  {reason}")
        }
        ClientEvent::DownloadPaused { group, file, reason } => {
            format!("[P] [{group}] {file}  paused: {reason}")
        }
        ClientEvent::ShareNotOffered { group, file, path, reason } => {
            format!("{file} in {group} is not offered: {reason} ({})", path.display())
        }
        ClientEvent::JoinRequested { group, user } => {
            format!("{user} asks to join {group}: accept_request {group} {user}")
        }
        ClientEvent::JoinRejected { group } => {
            format!("your request to join {group} was turned down")
        }
        ClientEvent::Admitted { group } => format!("you were let into {group}"),
        ClientEvent::Removed { group } => format!("you are no longer a member of {group}"),
        ClientEvent::NetworkKey { stage: RotationStage::Begun, old, new } => {
            format!(
                "the operator replaces the network's key: {new} is trusted beside {old} until that has ended; there is nothing to do"
            )
        }
        ClientEvent::NetworkKey { stage: RotationStage::Ended, old, new } => {
            format!("the network's key is {new} now; {old} counts no more")
        }
        ClientEvent::NetworkKey { stage: RotationStage::Cancelled, old, new } => {
            format!("the network's key stays {old}; {new} counts no more")
        }
        ClientEvent::ClocksDiffer { trackers: [one, other], difference } => format!(
            "the clocks of the trackers {one} and {other} differ by {} s, and nothing tells which is right: changes go to the one that \
             takes them; tell the operator to set the clocks",
            difference.as_secs()
        ),
        ClientEvent::LoggedInByKey { user } => {
            format!("logged in as {user}: this device stays logged in")
        }
        ClientEvent::StayingEnded { user, reason } => {
            format!("this device does not log in as {user} by itself any more: {reason}")
        }
        ClientEvent::SessionEnded { user, reason: reason @ SessionEnd::Disabled } => {
            format!("the session of {user} has ended: {reason}")
        }
        ClientEvent::SessionEnded { user, reason } => {
            format!("the session of {user} has ended: {reason}; log in again")
        }
    };
    vec![text]
}

fn tell_json(output: &Output, event: &ClientEvent) {
    let (name, fields) = match event {
        ClientEvent::DownloadComplete { group, file, path } => (
            "download_complete",
            json!({ "group": group.as_str(), "file": file.as_str(), "path": path.to_string_lossy() }),
        ),
        ClientEvent::DownloadFailed { group, file, reason } => (
            "download_failed",
            json!({ "group": group.as_str(), "file": file.as_str(), "reason": reason }),
        ),
        ClientEvent::DownloadPaused { group, file, reason } => (
            "download_paused",
            json!({ "group": group.as_str(), "file": file.as_str(), "reason": reason }),
        ),
        ClientEvent::ShareNotOffered { group, file, path, reason } => {
            let path = path.to_string_lossy();
            (
                "share_not_offered",
                json!({ "group": group.as_str(), "file": file.as_str(), "path": path, "reason": reason }),
            )
        }
        ClientEvent::JoinRequested { group, user } => {
            ("join_requested", json!({ "group": group.as_str(), "user": user.as_str() }))
        }
        ClientEvent::JoinRejected { group } => {
            ("join_rejected", json!({ "group": group.as_str() }))
        }
        ClientEvent::Admitted { group } => ("admitted", json!({ "group": group.as_str() })),
        ClientEvent::Removed { group } => ("removed", json!({ "group": group.as_str() })),
        ClientEvent::TrustedNetwork { network, before, unwritten } => {
            let before = before.map(|before| before.to_string());
            (
                "network_trusted",
                json!({ "network": network.to_string(), "before": before, "unwritten": unwritten }),
            )
        }
        ClientEvent::NetworkKey { stage, old, new } => (
            "network_key",
            json!({ "stage": stage.as_str(), "old": old.to_string(), "new": new.to_string() }),
        ),
        ClientEvent::ClocksDiffer { trackers, difference } => (
            "clocks_differ",
            json!({ "trackers": trackers, "difference_ms": difference.as_millis() as u64 }),
        ),
        ClientEvent::LoggedInByKey { user } => ("logged_in", json!({ "user": user.as_str() })),
        ClientEvent::StayingEnded { user, reason } => {
            ("staying_ended", json!({ "user": user.as_str(), "reason": reason }))
        }
        ClientEvent::SessionEnded { user, reason } => {
            let code = match reason {
                SessionEnd::PasswordChanged => "password_changed",
                SessionEnd::DeviceForgotten => "device_forgotten",
                SessionEnd::Disabled => "disabled",
                SessionEnd::KeyReplaced => "key_replaced",
                SessionEnd::Expired => "expired",
            };
            (
                "session_ended",
                json!({ "user": user.as_str(), "reason": reason.to_string(), "code": code }),
            )
        }
    };
    output.event(name, fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_trusted_is_named_once_in_two_short_lines() {
        let network = Fingerprint::from_bytes([0xab; 32]);
        let event = ClientEvent::TrustedNetwork { network, before: None, unwritten: None };
        let lines = to_lines(&event);
        assert_eq!((lines.len(), &lines[1]), (2, &format!("network {network}")));
        assert!(lines.iter().all(|line| line.len() < 80), "{lines:#?}");
        let before = Some(Fingerprint::from_bytes([0xcd; 32]));
        let event = ClientEvent::TrustedNetwork { network, before, unwritten: None };
        assert!(to_lines(&event).iter().all(|line| line.len() < 80));
    }
}
