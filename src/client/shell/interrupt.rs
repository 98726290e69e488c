//! Signals as values.
//!
//! **Invariant:** no signal ends the process by itself once this has started; a second request to
//! end, while the first is being carried out, does.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::net::Stop;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// SIGINT: end what is being done.
    Break,
    /// SIGTERM or SIGHUP: end the program in order.
    End,
}

/// Signals that have arrived.
pub(crate) struct Interrupts {
    receiver: Receiver<Interrupt>,
    /// SIGTERM or SIGHUP has arrived, or in a script SIGINT.
    ended: bool,
    /// A SIGINT between two commands counts too.
    keeps_all: bool,
    calls: Calls,
    on_end: OnEnd,
}

/// Interrupts the calls of this program, and no others. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Stop>>);

impl Calls {
    /// The stop of a call that begins now.
    pub(super) fn stop(&self) -> Stop {
        self.0.lock().clone()
    }

    /// Interrupts the calls under way.
    fn end(&self) {
        std::mem::take(&mut *self.0.lock()).set();
    }
}

/// What the thread "signals" does by itself when the program is to end.
type OnEnd = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A signal.
    Interrupt,
    /// An event of the client.
    Event,
    /// The time is over.
    Time,
}

impl Interrupts {
    /// Begins to take signals, on the thread "signals". With `survives_hangup` SIGHUP is ignored.
    pub(crate) fn start(survives_hangup: bool) -> io::Result<Self> {
        let (sender, receiver) = bounded(16);
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let on_end = OnEnd::default();
        let calls = Calls::default();
        let (at_break, at_end) = (calls.clone(), on_end.clone());
        let work = move || take_signals(&mut signals, &sender, &at_break, &at_end, survives_hangup);
        std::thread::Builder::new().name("signals".into()).spawn(work)?;
        Ok(Self { receiver, ended: false, keeps_all: false, calls, on_end })
    }

    /// The calls that each signal interrupts.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Has `work` done on the thread "signals" when the program is to end, for a main thread that
    /// waits for keys.
    pub(super) fn on_end(&self, work: impl FnOnce() + Send + 'static) {
        *self.on_end.lock() = Some(Box::new(work));
    }

    /// The channel, for a select; what is received from it goes to [`Interrupts::note`].
    pub(super) fn channel(&self) -> &Receiver<Interrupt> {
        &self.receiver
    }

    /// Notes a signal that was received.
    pub(super) fn note(&mut self, interrupt: Interrupt) {
        self.ended |= interrupt == Interrupt::End;
    }

    /// Tells whether the program is to end.
    pub(crate) fn is_ended(&mut self) -> bool {
        while let Ok(interrupt) = self.receiver.try_recv() {
            self.note(interrupt);
        }
        self.ended
    }

    /// Tells whether a signal has arrived since the last question.
    pub(super) fn is_interrupted(&mut self) -> bool {
        let interrupt = self.receiver.try_recv();
        if let Ok(interrupt) = interrupt {
            self.note(interrupt);
        }
        interrupt.is_ok() || self.ended
    }

    /// From now on no signal is forgotten: between two commands of a script there is the script to
    /// end.
    pub(super) fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    /// Forgets a SIGINT that came when there was nothing to end.
    pub(super) fn clear(&mut self) {
        if !self.keeps_all {
            self.is_ended();
        }
    }

    /// Waits for a signal, an event, or the time.
    pub(crate) fn wait(&mut self, events: Option<&Receiver<()>>, until: Option<Instant>) -> Woken {
        if self.ended {
            return Woken::Interrupt;
        }
        let silent = never();
        let time = until.map_or_else(never, crossbeam_channel::at);
        select! {
            recv(self.receiver) -> interrupt => {
                if let Ok(interrupt) = interrupt {
                    self.note(interrupt);
                }
                Woken::Interrupt
            }
            recv(events.unwrap_or(&silent)) -> _ => Woken::Event,
            recv(time) -> _ => Woken::Time,
        }
    }
}

fn take_signals(
    signals: &mut Signals,
    sender: &Sender<Interrupt>,
    calls: &Calls,
    on_end: &OnEnd,
    survives_hangup: bool,
) {
    let mut last_end: Option<Instant> = None;
    for signal in signals.forever() {
        if survives_hangup && signal == SIGHUP {
            continue;
        }
        let interrupt = if signal == SIGINT { Interrupt::Break } else { Interrupt::End };
        if interrupt == Interrupt::End
            && last_end
                .replace(Instant::now())
                .is_some_and(|at| at.elapsed() < Duration::from_secs(30))
        {
            std::process::exit(128 + signal);
        }
        let work = if interrupt == Interrupt::End { on_end.lock().take() } else { None };
        if let Some(work) = work {
            work();
        }
        // A full channel holds enough signals already.
        let _ = sender.try_send(interrupt);
        calls.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_between_two_commands_ends_a_script_and_is_nothing_at_the_prompt() {
        let (sender, receiver) = bounded(16);
        let (calls, on_end) = (Calls::default(), OnEnd::default());
        let mut interrupts = Interrupts { receiver, ended: false, keeps_all: false, calls, on_end };
        sender.send(Interrupt::Break).unwrap();
        interrupts.clear();
        assert!(!interrupts.is_interrupted());
        interrupts.keep_all();
        sender.send(Interrupt::Break).unwrap();
        interrupts.clear();
        assert_eq!(interrupts.wait(None, None), Woken::Interrupt);
        assert!(!interrupts.is_interrupted(), "one signal ends one wait");
    }
}
