//! What costs a tracker most, done for sessions within bounds: checking passwords, and making what
//! lasts.
//!
//! **Invariant:** no password is checked past the [`Gate`](super::gate::Gate), and nothing that
//! [`Quota`](super::quota::Quota) counts is made past it. A name that nobody bears takes the same
//! way as any other: the gate, one Argon2 run, the same refusal.
//!
//! Called on session threads, which wait here for the gate, for a place to run Argon2, and for the
//! core. Everywhere `None` means that the core has ended.

use std::net::IpAddr;

use super::audit::note_of;
use super::core::{Changed, Owed};
use super::gate::Attempt;
use super::password::Lane;
use super::presence::SessionKey;
use super::quota::{Charge, Kind};
use super::shared::Shared;
use crate::directory::Asked;
use crate::net::{Admission, Source};
use crate::types::{
    Change, DeviceId, DeviceName, GroupId, InvitationId, Label, Outcome, Password, PasswordHash,
    Refusal, RequestStamp, UserEntry, UserId, UserName, Version,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Where they come from.
    pub(crate) source: Source,
    /// The address as observed.
    pub(crate) address: IpAddr,
    /// On which device.
    pub(crate) device: DeviceId,
    /// In which session.
    pub(crate) session: SessionKey,
    /// Their connection: nothing is waited for once it is over.
    pub(crate) admission: &'a Admission,
}

impl Caller<'_> {
    fn lane(&self, known: Option<UserId>) -> Lane {
        Lane { source: self.source, known }
    }
}

/// A change that was handed to the core, or was refused before.
#[derive(Debug)]
pub(crate) enum Making<'a> {
    /// What came of it will be received; it counts if anything was made.
    UnderWay(Owed<Changed>, Charge<'a>),
    /// It is one too many.
    Refused(Refusal),
}

impl Making<'_> {
    /// Waits for what comes of it; `None` if the core has ended.
    ///
    /// # Blocking
    /// Until the change is safe or refused.
    pub(crate) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Refused(refusal) => Some(Err(refusal)),
            Self::UnderWay(changed, charge) => {
                let changed = changed.wait()?;
                if changed.outcome.is_ok() && !changed.is_repeated {
                    charge.spend();
                }
                Some(changed.outcome)
            }
        }
    }
}

impl Shared {
    /// Finds the user whom a name and a password belong to, and the write that set the password.
    ///
    /// # Blocking
    /// For the gate and for an Argon2 run; one more for each further bearer of the name.
    pub(crate) fn find_user(
        &self,
        caller: Caller<'_>,
        name: Label,
        password: &Password,
    ) -> Option<Result<(UserEntry, Version), Refusal>> {
        let asked = name.clone();
        let candidates = self.core.ask(move |view| {
            let directory = view.directory();
            let candidates = directory.login_candidates(asked.as_str()).into_iter();
            let with_version = |(entry, hash): (UserEntry, _)| {
                Some((directory.password_version(entry.user)?, entry, hash))
            };
            candidates.filter_map(with_version).collect::<Vec<_>>()
        })?;
        let users: Vec<UserId> = candidates.iter().map(|(_, entry, _)| entry.user).collect();
        let hashes: Vec<&PasswordHash> = candidates.iter().map(|(_, _, hash)| hash).collect();
        let attempt = self.gate.login(caller.source, caller.device, name.as_str(), &users);
        let found = match self.check(caller, &attempt, password, &hashes) {
            Ok(Some(index)) => {
                candidates.into_iter().nth(index).map(|(tag, entry, _)| (entry, tag))
            }
            Ok(None) => None,
            Err(refusal) => return Some(Err(refusal)),
        };
        Some(match found {
            Some((entry, version)) => {
                self.gate.note_known(entry.user, caller.device);
                Ok((entry, version))
            }
            None => Err(Refusal::WrongPassword),
        })
    }

    /// Replaces the password of a user who is logged in and shows the old one.
    ///
    /// # Blocking
    /// For the gate, for two Argon2 runs, and until the change is safe or refused.
    pub(crate) fn change_password(
        &self,
        caller: Caller<'_>,
        user: UserId,
        request: RequestStamp,
        old: &Password,
        new: &Password,
    ) -> Option<Outcome> {
        let asked = self.core.ask(move |view| {
            let directory = view.directory();
            (directory.password_hash(user), directory.outcome(request.id, user).is_some())
        });
        let (present, repeated) = asked?;
        let Some(present) = present else { return Some(Err(Refusal::LoginFirst)) };
        // A repeated request finds the old password replaced already, by itself; its outcome is on
        // record.
        let hash = if repeated {
            Ok(self.hasher.no_hash())
        } else {
            self.replace(caller, user, &present, old, new)
        };
        let hash = match hash {
            Ok(hash) => hash,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.change(caller, user, request, Change::ChangePassword { hash })
    }

    /// Lets the caller's device log in by its key from now on, if the password is right.
    ///
    /// # Blocking
    /// For the gate, for an Argon2 run, and until the change is safe or refused.
    pub(crate) fn stay_on_device(
        &self,
        caller: Caller<'_>,
        user: UserId,
        request: RequestStamp,
        name: DeviceName,
        shown: &Password,
    ) -> Option<Outcome> {
        let asked = self.core.ask(move |view| {
            let directory = view.directory();
            let present = directory.password_hash(user).zip(directory.password_version(user));
            (present, directory.outcome(request.id, user).is_some())
        });
        let (present, repeated) = asked?;
        let Some((hash, password)) = present else { return Some(Err(Refusal::LoginFirst)) };
        if !repeated {
            let attempt = self.gate.logged_in(caller.source, caller.device, user);
            match self.check(caller, &attempt, shown, &[&hash]) {
                Ok(Some(_)) => {}
                Ok(None) => return Some(Err(Refusal::WrongPassword)),
                Err(refusal) => return Some(Err(refusal)),
            }
        }
        let change = Change::StayOnDevice { device: caller.device, name, password };
        self.change(caller, user, request, change)
    }

    /// The hash of a user's new password, if the old one is right.
    fn replace(
        &self,
        caller: Caller<'_>,
        user: UserId,
        present: &PasswordHash,
        old: &Password,
        new: &Password,
    ) -> Result<PasswordHash, Refusal> {
        let attempt = self.gate.logged_in(caller.source, caller.device, user);
        self.check(caller, &attempt, old, &[present])?.ok_or(Refusal::WrongOldPassword)?;
        self.hasher.hash(caller.lane(Some(user)), new)
    }

    /// Confirms that a request of a user, who is not logged in where it is repeated, has replaced
    /// their password by `new`. Whoever knows both, the request id and the password, is who asked;
    /// the answer was lost with the connection, or went by another tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`] if the request was not carried out, or the password is another.
    ///
    /// # Blocking
    /// For the gate and for an Argon2 run.
    pub(crate) fn find_changed(
        &self,
        caller: Caller<'_>,
        user: UserId,
        request: RequestStamp,
        new: &Password,
    ) -> Option<Result<(UserEntry, Version), Refusal>> {
        let found = self.core.ask(move |view| {
            let directory = view.directory();
            let carried_out =
                directory.outcome(request.id, user).is_some_and(|outcome| outcome.is_ok());
            let (entry, hash) = (directory.user_entry(user)?, directory.password_hash(user)?);
            Some((entry, directory.password_version(user)?, hash)).filter(|_| carried_out)
        })?;
        let Some((entry, tag, hash)) = found else { return Some(Err(Refusal::LoginFirst)) };
        let attempt = self.gate.login(caller.source, caller.device, entry.label.as_str(), &[user]);
        Some(match self.check(caller, &attempt, new, &[&hash]) {
            Ok(Some(_)) => {
                self.gate.note_known(user, caller.device);
                Ok((entry, tag))
            }
            Ok(None) => Err(Refusal::LoginFirst),
            Err(refusal) => Err(refusal),
        })
    }

    /// Makes an account, by an invitation or without one, if the caller's address may have another.
    ///
    /// # Blocking
    /// For an Argon2 run, unless the name is taken, the invitation cannot be used, or the address has
    /// made too many; and until the change is safe or refused.
    pub(crate) fn create_user(
        &self,
        caller: Caller<'_>,
        request: RequestStamp,
        name: UserName,
        password: &Password,
        invited: Option<(GroupId, InvitationId)>,
    ) -> Option<Outcome> {
        let wanted = name.clone();
        let asked = self.core.ask(move |view| {
            let (directory, at_ms) = (view.directory(), request.at.ms());
            let check = |(group, invitation)| {
                directory.check_invitation(group, invitation, at_ms).map(drop)
            };
            (
                directory.outcome(request.id, UserId::NOBODY).is_some(),
                directory.find_user(wanted.as_str()).is_some(),
                invited.map_or(Ok(()), check),
            )
        });
        let (repeated, taken, checked) = asked?;
        // Refused again by the core; but what comes to nothing should cost no run.
        if taken && !repeated {
            return Some(Err(Refusal::NameTaken));
        }
        if let Err(refusal) = checked
            && !repeated
        {
            return Some(Err(refusal));
        }
        let (charge, hash) = if repeated {
            // The outcome is on record, and goes by the request and the name: no hash is looked at.
            (Charge::FREE, Ok(self.hasher.no_hash()))
        } else {
            let Some(charge) = self.quota.take(Kind::Account(caller.source)) else {
                return Some(Err(Refusal::TooMany));
            };
            (charge, self.hasher.hash(caller.lane(None), password))
        };
        let hash = match hash {
            Ok(hash) => hash,
            Err(refusal) => return Some(Err(refusal)),
        };
        let change = match invited {
            Some((group, invitation)) => {
                Change::CreateInvitedUser { name, hash, group, invitation }
            }
            None => Change::CreateUser { name, hash },
        };
        self.make(caller, UserId::NOBODY, request, change, charge)
    }

    /// Carries out a change of a user's, if they may make another of the kind.
    ///
    /// # Blocking
    /// Until the change is safe or refused.
    pub(crate) fn change(
        &self,
        caller: Caller<'_>,
        actor: UserId,
        request: RequestStamp,
        change: Change,
    ) -> Option<Outcome> {
        self.begin_change(caller, actor, request, change)?.outcome()
    }

    /// The same without waiting for what comes of it: changes begun one after the other are carried
    /// out in that order.
    ///
    /// # Blocking
    /// While the core has very much to do.
    pub(crate) fn begin_change(
        &self,
        caller: Caller<'_>,
        actor: UserId,
        request: RequestStamp,
        change: Change,
    ) -> Option<Making<'_>> {
        let charge = match self.quota.take(Kind::of(caller.source, actor, &change)) {
            Some(charge) => charge,
            // Only now does it matter whether this one was counted before: asking first would cost
            // every change a turn of the core.
            None if self
                .core
                .ask(move |view| view.directory().outcome(request.id, actor).is_some())? =>
            {
                Charge::FREE
            }
            None => return Some(Making::Refused(Refusal::TooMany)),
        };
        let changed =
            self.core.begin_change(Some(caller.session), asked(caller, actor, request, change))?;
        Some(Making::UnderWay(changed, charge))
    }

    /// Has the core carry out a change, which counts if anything was made.
    fn make(
        &self,
        caller: Caller<'_>,
        actor: UserId,
        request: RequestStamp,
        change: Change,
        charge: Charge<'_>,
    ) -> Option<Outcome> {
        let changed =
            self.core.begin_change(Some(caller.session), asked(caller, actor, request, change))?;
        Making::UnderWay(changed, charge).outcome()
    }

    /// Tells which of the hashes a password belongs to, in the attempt's time.
    fn check(
        &self,
        caller: Caller<'_>,
        attempt: &Attempt,
        password: &Password,
        hashes: &[&PasswordHash],
    ) -> Result<Option<usize>, Refusal> {
        let pass = self.gate.pass(attempt, || caller.admission.is_over())?;
        let found = self.hasher.find(caller.lane(attempt.known()), password, hashes)?;
        if found.is_some() {
            pass.succeeded()
        } else {
            pass.failed()
        }
        Ok(found)
    }
}

fn asked(caller: Caller<'_>, actor: UserId, request: RequestStamp, change: Change) -> Asked {
    let note = note_of(&change, Some((caller.address, caller.device)));
    Asked { actor, request, change, note }
}
