//! Tells of what happens by itself: events in JSON, announcements at a terminal, warnings
//! elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use serde_json::Value;

use super::escape::escape;
use super::output::{Format, Output};
use crate::client::api::{Event, SessionEnded, Update};
use crate::net::Stop;
use crate::types::{Fingerprint, RotationStage, bad_data_text, unreachable_text};

/// The thread "announcer".
pub(crate) struct Announcer {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    /// Receives a token after each event.
    wakes: Receiver<()>,
    is_lost: Arc<AtomicBool>,
    /// The program itself ends the client.
    expects_end: Arc<AtomicBool>,
}

impl Announcer {
    /// Prints events until [`Announcer::stop`]. If the updates end before, the client is gone, and
    /// `on_lost` is called.
    pub(crate) fn start(
        updates: Receiver<Update>,
        output: Output,
        on_lost: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (stop, is_lost) = (Stop::new(), Arc::new(AtomicBool::new(false)));
        let (wake, wakes) = bounded(1);
        let expects_end = Arc::new(AtomicBool::new(false));
        let (stopped, lost, expected) = (stop.clone(), is_lost.clone(), expects_end.clone());
        let work = move || {
            loop {
                select! {
                    recv(updates) -> update => match update {
                        Ok(update) => tell(&output, &wake, &update.event),
                        Err(_) if stopped.is_set() || expected.load(Ordering::Acquire) => return,
                        Err(_) => {
                            lost.store(true, Ordering::Release);
                            // Wakes a waiting command, which then fails.
                            let _ = wake.try_send(());
                            return on_lost();
                        }
                    },
                    recv(stopped.channel()) -> _ => break,
                }
            }
            updates.try_iter().for_each(|update| tell(&output, &wake, &update.event));
        };
        // Without the thread the program works, and says less.
        let thread = std::thread::Builder::new().name("announcer".into()).spawn(work).ok();
        Self { stop, thread, wakes, is_lost, expects_end }
    }

    /// A channel that receives a token after each event.
    pub(super) fn wakes(&self) -> &Receiver<()> {
        &self.wakes
    }

    /// A flag that is set when the client is gone.
    pub(super) fn loss(&self) -> Arc<AtomicBool> {
        self.is_lost.clone()
    }

    /// Tells whether the client is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// From now on the end of the updates is expected.
    pub(crate) fn expect_end(&self) {
        self.expects_end.store(true, Ordering::Release);
    }

    /// Tells what is still to tell, then ends.
    pub(crate) fn stop(mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn tell(output: &Output, wake: &Sender<()>, event: &Event) {
    // One token is enough.
    let _ = wake.try_send(());
    match output.format() {
        Format::Json => tell_json(output, event),
        Format::Table => output.announce(&to_lines(event)),
        // In a script `wait` reports downloads; what nobody asked for would else go unseen.
        Format::Plain => match event {
            Event::ShareNotOffered { .. }
            | Event::NetworkTrusted { .. }
            | Event::ClocksDiffer { .. }
            | Event::StayingEnded { .. }
            | Event::SessionEnded(_) => {
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
fn to_lines(event: &Event) -> Vec<String> {
    let text = match event {
        Event::NetworkTrusted { network, before, unwritten } => {
            return trusted(network, before.as_ref(), unwritten.as_ref());
        }
        Event::DownloadComplete { group, file, path, .. } => {
            format!("[C] [{group}] {file}  {path}")
        }
        Event::DownloadFailed { group, file, reason, .. } => {
            format!("[F] [{group}] {file}  {reason}")
        }
        Event::DownloadPaused { group, file, reason, .. } => {
            format!("[P] [{group}] {file}  paused: {reason}")
        }
        Event::ShareNotOffered { group, file, path, reason, .. } => {
            format!("{file} in {group} is not offered: {reason} ({path})")
        }
        Event::BadDataReported { group, file, path, members, .. } => {
            format!("{} ({path})", bad_data_text(*members, &format!("{file} in {group}")))
        }
        Event::Unreachable { address, members } => unreachable_text(*members, *address),
        Event::JoinRequested { group, user, .. } => {
            let answer = shell_words::join(["accept_request", group.as_str(), user.as_str()]);
            format!("{user} asks to join {group}: {answer}")
        }
        Event::MemberJoined { group, user, invited_by, .. } => {
            format!("{user} joined {group}, invited by {invited_by}")
        }
        Event::JoinRejected { group, .. } => {
            format!("your request to join {group} was turned down")
        }
        Event::LoggedIn { account, by_key: true } => {
            format!("logged in as {}: this device stays logged in", account.user)
        }
        Event::StayingEnded { user, reason, .. } => {
            format!("this device does not log in as {user} by itself any more: {reason}")
        }
        Event::Admitted { group, .. } => format!("you were let into {group}"),
        Event::Removed { group, .. } => format!("you are no longer a member of {group}"),
        Event::NetworkKey { stage: RotationStage::Begun, old, new } => {
            format!(
                "the operator replaces the network's key: {new} is trusted beside {old} until that has ended; there is nothing to do"
            )
        }
        Event::NetworkKey { stage: RotationStage::Ended, old, new } => {
            format!("the network's key is {new} now; {old} counts no more")
        }
        Event::NetworkKey { stage: RotationStage::Cancelled, old, new } => {
            format!("the network's key stays {old}; {new} counts no more")
        }
        Event::ClocksDiffer { trackers: [one, other], difference_ms } => format!(
            "the clocks of the trackers {one} and {other} differ by {} s, and nothing tells which is right: changes go to the one that \
             takes them; tell the operator to set the clocks",
            difference_ms / 1000
        ),
        Event::SessionEnded(SessionEnded { user, reason, code, .. }) => {
            let whose = user.as_ref().map_or(String::new(), |user| format!(" of {user}"));
            let again = if code == "disabled" { "" } else { "; log in again" };
            format!("the session{whose} has ended: {reason}{again}")
        }
        Event::Snapshot { .. } => {
            "some events were lost; show_downloads shows the present state".into()
        }
        // Results of commands, and events of later versions.
        _ => return Vec::new(),
    };
    vec![text]
}

/// Writes an event that docs/JSON.md lists for `--json`.
fn tell_json(output: &Output, event: &Event) {
    if matches!(event, Event::Snapshot { .. }) || to_lines(event).is_empty() {
        return;
    }
    if let Ok(Value::Object(mut fields)) = serde_json::to_value(event)
        && let Some(Value::String(name)) = fields.remove("event")
    {
        if let Some(account) = fields.remove("account") {
            fields.remove("by_key");
            for field in ["user", "user_id"] {
                fields.insert(field.to_owned(), account[field].clone());
            }
        }
        if name == "session_ended" {
            // Only `wait` knows this number.
            fields.remove("unfinished");
        }
        output.event(&name, Value::Object(fields));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_trusted_is_named_once_in_two_short_lines() {
        let network = Fingerprint::from_bytes([0xab; 32]);
        let event = Event::NetworkTrusted { network, before: None, unwritten: None };
        let lines = to_lines(&event);
        assert_eq!((lines.len(), &lines[1]), (2, &format!("network {network}")));
        assert!(lines.iter().all(|line| line.len() < 80), "{lines:#?}");
        let before = Some(Fingerprint::from_bytes([0xcd; 32]));
        let event = Event::NetworkTrusted { network, before, unwritten: None };
        assert!(to_lines(&event).iter().all(|line| line.len() < 80));
    }
}
