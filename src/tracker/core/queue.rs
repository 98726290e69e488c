//! The core's queue: what sessions, links and the operator hand to the core, and how they wait for
//! its answers.
//!
//! **Invariant:** a thread that waits for the core hears of the core's end.

use std::convert::Infallible;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};

use crate::directory::{Asked, Directory, LinkId, Replica};
use crate::store::{StoreError, TrackerStore};
use crate::tracker::presence::{Presence, SessionKey};
use crate::tracker::sink::LinkSink;
use crate::types::{Durable, KeyRotation, Lineage, Outcome, SyncMessage};

/// Inputs that may wait: one for nearly every session a tracker serves at its best; the others wait
/// on their own threads.
pub(crate) const INPUTS_MAX: usize = 4096;
/// An answer that waits for the end of the turn.
pub(crate) type Deferred = Box<dyn FnOnce() + Send>;
/// A question to the core, asked on its thread.
pub(crate) type Question = Box<dyn FnOnce(&mut View<'_>) -> Deferred + Send>;

/// What came of a change.
#[derive(Debug)]
pub(crate) struct Changed {
    /// What the client is told.
    pub(crate) outcome: Outcome,
    /// Whether the request was on record when it came: nothing more has been made.
    pub(crate) is_repeated: bool,
}

/// What the core's thread takes.
pub(crate) enum Input {
    /// Carry out a change.
    Change {
        /// On which session; `None` for the operator.
        session: Option<SessionKey>,
        /// Who asks, and what.
        asked: Asked,
        /// Takes the outcome; has room for it.
        answer: Sender<Changed>,
    },
    /// Look something up, or change presence.
    Ask(Question),
    /// A replication link stands.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The other end's store.
        lineage: Lineage,
        /// What the acceptor of a dialled link has, and whether its store is empty.
        greeting: Option<(Durable, bool)>,
        /// Where its messages go.
        sink: LinkSink,
    },
    /// A replication link has gone.
    LinkDown(LinkId),
    /// A replication link says something.
    LinkSaid(LinkId, SyncMessage),
    /// Another tracker says that the key of this one counts no more.
    KeyReplaced(KeyRotation),
    /// The file of the next key may be there now.
    LookAtKeys,
    /// Make everything that is durable visible to readers.
    Flush(Sender<()>),
    /// A reader has met damage in the store.
    Damaged(StoreError),
    /// End in order.
    Stop,
}

/// The directory in a tracker's store.
pub(crate) type StoredDirectory = Directory<TrackerStore>;

/// What a question may look at.
pub(crate) struct View<'a> {
    /// The replica, and the directory in it.
    pub(crate) replica: &'a Replica<TrackerStore>,
    /// Who is connected.
    pub(crate) presence: &'a mut Presence,
    /// The time on this tracker's clock, milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// Since when some other tracker is not up, if so.
    pub(crate) degraded_since: Option<Instant>,
}

impl View<'_> {
    /// The directory.
    pub(crate) fn directory(&self) -> &StoredDirectory {
        self.replica.directory()
    }
}

/// The way to the core.
#[derive(Debug, Clone)]
pub(crate) struct CoreHandle {
    inputs: Sender<Input>,
    /// Disconnected once the core has ended: what waits in the queue then stays there.
    ended: Receiver<Infallible>,
}

/// The core's end of the queue.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(super) queue: Receiver<Input>,
    _alive: Sender<Infallible>,
}

/// Something that the core owes.
#[derive(Debug)]
pub(crate) struct Owed<T> {
    answer: Receiver<T>,
    ended: Receiver<Infallible>,
}

impl<T> Owed<T> {
    /// Waits for it; `None` if the core has ended.
    ///
    /// # Blocking
    /// Until it comes.
    pub(crate) fn wait(self) -> Option<T> {
        self.wait_for(None)
    }

    /// The same, for so long at most; `None` also if the time is over.
    ///
    /// # Blocking
    /// For that time.
    pub(crate) fn wait_for(self, time: Option<Duration>) -> Option<T> {
        let Self { answer, ended } = self;
        let limit = time.map_or_else(never, after);
        select! {
            recv(answer) -> answer => answer.ok(),
            // The core's last answers come before its end.
            recv(ended) -> _ => answer.try_recv().ok(),
            recv(limit) -> _ => None,
        }
    }
}

impl CoreHandle {
    /// Makes the queue.
    pub(crate) fn new() -> (Self, Inputs) {
        let (inputs, queue) = bounded(INPUTS_MAX);
        let (alive, ended) = bounded(0);
        (Self { inputs, ended }, Inputs { queue, _alive: alive })
    }

    /// Hands something over; false if the core has ended.
    ///
    /// # Blocking
    /// While the queue is full.
    pub(crate) fn send(&self, input: Input) -> bool {
        self.inputs.send(input).is_ok()
    }

    /// Has a change carried out that a session asks for, or the operator if there is none; `None`
    /// if the core has ended. What came of it is received when it is safe or refused, or never if
    /// the core has ended: then it is unknown whether it was carried out. Refused if the user is no
    /// longer logged in there.
    ///
    /// # Blocking
    /// While the queue is full.
    pub(crate) fn begin_change(
        &self,
        session: Option<SessionKey>,
        asked: Asked,
    ) -> Option<Owed<Changed>> {
        let (sender, answer) = bounded(1);
        self.inputs.send(Input::Change { session, asked, answer: sender }).ok()?;
        Some(Owed { answer, ended: self.ended.clone() })
    }

    /// Asks something; `None` if the core has ended.
    ///
    /// # Blocking
    /// Until everything the answer rests on is durable.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = bounded(1);
        let question: Question = Box::new(move |view| {
            let answer = question(view);
            // Fails only if the thread that asked has ended.
            Box::new(move || drop(sender.send(answer)))
        });
        self.inputs.send(Input::Ask(question)).ok()?;
        Owed { answer, ended: self.ended.clone() }.wait()
    }

    /// Waits until everything that was durable before is visible to readers; `None` if the core has
    /// ended.
    ///
    /// # Blocking
    /// For the disk, and while the queue is full.
    pub(crate) fn flush(&self) -> Option<()> {
        let (sender, answer) = bounded(1);
        self.inputs.send(Input::Flush(sender)).ok()?;
        Owed { answer, ended: self.ended.clone() }.wait()
    }

    /// Has something done without waiting for it. If the core has ended, it is not needed any more.
    ///
    /// # Blocking
    /// While the queue is full.
    pub(crate) fn tell(&self, news: impl FnOnce(&mut View<'_>) + Send + 'static) {
        let question: Question = Box::new(move |view| {
            news(view);
            Box::new(|| ())
        });
        self.send(Input::Ask(question));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_hears_of_the_end_also_if_the_question_was_never_taken_up() {
        let (core, inputs) = CoreHandle::new();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| core.ask(|_| ()));
            while inputs.queue.is_empty() {
                std::thread::yield_now();
            }
            drop(inputs);
            assert_eq!(asked.join().unwrap(), None);
        });
        assert_eq!(core.ask(|_| ()), None);
    }
}
