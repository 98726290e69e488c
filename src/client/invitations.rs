//! Invitations to groups: making, listing, revoking and using them.
//!
//! **Invariant:** the secret of an invitation is in its link alone. A tracker is shown it when the
//! invitation is used, over TLS, and only a tracker of the network that the link names.
//!
//! Everything here blocks on trackers.

use zeroize::Zeroize as _;

use super::error::ClientError;
use super::runtime::Pages;
use super::start::Client;
use super::trackers::Need;
use crate::types::invitation_link::{InvitationLink, InvitationLinkError};
use crate::types::{
    GroupEntry, GroupSettings, InvitationEntry, InvitationId, InvitationSecret, Password, Refusal,
    TrackerAddress, TrackerState, UserName, invitation_expires_ms,
};
use crate::wire::tracker::{Reply, Request};

impl Client {
    /// Makes an invitation to a group, which lets in that many users within that many days. Returns
    /// its link, which cannot be had again.
    ///
    /// # Errors
    /// [`Refusal::MayNotInvite`], [`Refusal::NotMember`], [`Refusal::BadInvitation`],
    /// [`Refusal::Quota`].
    pub fn invite(
        &self,
        group: &str,
        uses: u32,
        days: u32,
    ) -> Result<(InvitationLink, InvitationEntry), ClientError> {
        let inviter = self.inner.need_user()?;
        let GroupEntry { group, label, .. } = self.inner.group(group)?;
        let network = self.network().ok_or(ClientError::NoTracker)?;
        let mut random: [u8; InvitationSecret::LEN] = rand::random();
        let secret = InvitationSecret::from_bytes(random);
        random.zeroize();
        let (invitation, trackers) = (secret.id(group), self.trackers_to_name()?);
        let request = self.inner.trackers.request_stamp();
        let asked = Request::CreateInvitation { request, group, invitation, uses, days };
        let Reply::Done(done) = self.inner.trackers.call(&asked, Need::Session)? else {
            return Err(ClientError::BadAnswer);
        };
        let created = done.stamp;
        let expires_ms = invitation_expires_ms(created.ms(), days);
        let link = InvitationLink::new(network, (group, label.clone()), secret, &trackers);
        let entry = InvitationEntry {
            group,
            label,
            invitation,
            inviter,
            created,
            expires_ms,
            uses,
            used: 0,
        };
        Ok((link, entry))
    }

    /// The addresses of the trackers, those that are up first.
    fn trackers_to_name(&self) -> Result<Vec<TrackerAddress>, ClientError> {
        let mut trackers = self.trackers()?.trackers;
        trackers.sort_by_key(|tracker| tracker.state != TrackerState::Up);
        let addresses: Vec<TrackerAddress> =
            trackers.iter().filter_map(|tracker| tracker.address.parse().ok()).collect();
        if addresses.is_empty() { Err(ClientError::NoTracker) } else { Ok(addresses) }
    }

    /// Lists the invitations that the user may revoke: the user's own, and those to groups of which
    /// the user is the owner.
    ///
    /// # Errors
    /// The pages': [`Refusal::LoginFirst`], [`Refusal::Unsupported`], and those of the trackers.
    pub fn invitations(&self) -> Pages<'_, InvitationEntry> {
        Pages::new(move |last: Option<&InvitationEntry>| {
            let after = last.map(|entry| (entry.group, entry.invitation));
            match self.inner.trackers.call(&Request::ListInvitations { after }, Need::Session)? {
                Reply::Invitations { entries, more } => Ok((entries, more)),
                _ => Err(ClientError::BadAnswer),
            }
        })
    }

    /// Revokes an invitation: it cannot be used any more. `text` is the beginning of its id, or its
    /// link. Returns the invitation.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] if no invitation matches, or several do; [`Refusal::NotOwner`].
    pub fn revoke_invitation(&self, text: &str) -> Result<InvitationEntry, ClientError> {
        let named = InvitationLink::parse(text).ok().map(|link| link.secret.id(link.group));
        let entry = find(self.invitations().all()?, text, named)?;
        let request = self.inner.trackers.request_stamp();
        let InvitationEntry { group, invitation, .. } = entry;
        self.done(&Request::RevokeInvitation { request, group, invitation }, Need::Session)?;
        Ok(entry)
    }

    /// Joins a group by an invitation; a member stays one, so that it can be repeated. Returns the
    /// group.
    ///
    /// # Errors
    /// [`ClientError::OtherNetwork`], [`Refusal::LoginFirst`], and why the invitation does not
    /// let the user in.
    pub fn use_invitation(&self, link: &InvitationLink) -> Result<GroupEntry, ClientError> {
        self.check_network(link)?;
        let user = self.inner.need_user()?.user;
        let group = link.group;
        let request = self.inner.trackers.request_stamp();
        let asked = Request::UseInvitation { request, group, secret: link.secret.clone() };
        match self.done(&asked, Need::Session) {
            Ok(()) | Err(ClientError::Refused(Refusal::AlreadyMember)) => {}
            Err(error) => return Err(error),
        }
        // An earlier request to the owner is settled.
        self.inner.store.take_asked(user, group)?;
        self.joined(link)
    }

    /// Makes an account that is a member of a group by an invitation: both, or neither.
    ///
    /// # Errors
    /// Those of [`Client::create_user`], [`ClientError::OtherNetwork`], and why the invitation does
    /// not let the user in.
    pub fn create_invited_user(
        &self,
        name: &str,
        password: Password,
        link: &InvitationLink,
    ) -> Result<(), ClientError> {
        let name: UserName = name.parse()?;
        self.check_network(link)?;
        let (group, secret) = (link.group, link.secret.clone());
        let request = self.inner.trackers.request_stamp();
        let asked = Request::CreateInvitedUser { request, name, password, group, secret };
        self.done(&asked, Need::Tracker)
    }

    /// The group of an invitation that was used.
    fn joined(&self, link: &InvitationLink) -> Result<GroupEntry, ClientError> {
        let all = self.inner.my_groups().all()?;
        all.into_iter().find(|entry| entry.group == link.group).ok_or(Refusal::NotMember.into())
    }

    /// What the owner of a group has set: whether every member may invite. `None` if the tracker
    /// is older.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`].
    pub fn group_settings(&self, group: &str) -> Result<GroupEntry, ClientError> {
        self.inner.group(group)
    }

    /// Sets whether every member of a group may invite; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchGroup`].
    pub fn let_members_invite(
        &self,
        group: &str,
        members_invite: bool,
    ) -> Result<GroupEntry, ClientError> {
        let entry = self.inner.group(group)?;
        let request = self.inner.trackers.request_stamp();
        let settings = GroupSettings { members_invite };
        let asked = Request::SetGroup { request, group: entry.group, settings };
        self.done(&asked, Need::Session)?;
        Ok(GroupEntry { settings: Some(settings), ..entry })
    }

    /// The secret is shown to the network's own trackers alone.
    fn check_network(&self, link: &InvitationLink) -> Result<(), ClientError> {
        let accepted = self.inner.network.accepted();
        match accepted.first() {
            Some(_) if accepted.contains(&link.network) => Ok(()),
            Some(&own) => Err(ClientError::OtherNetwork { invited: link.network, own }),
            None => Err(ClientError::NoTracker),
        }
    }
}

impl From<InvitationLinkError> for ClientError {
    fn from(error: InvitationLinkError) -> Self {
        Self::BadArgument(error.to_string())
    }
}

/// Finds the invitation with that id, or with an id that begins so.
fn find(
    entries: Vec<InvitationEntry>,
    text: &str,
    named: Option<InvitationId>,
) -> Result<InvitationEntry, ClientError> {
    let begins = text.to_ascii_lowercase();
    let is_meant = |entry: &InvitationEntry| match named {
        Some(invitation) => entry.invitation == invitation,
        None => !begins.is_empty() && entry.invitation.to_string().starts_with(&begins),
    };
    let mut found = entries.into_iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        // A link is not quoted.
        (None, _) => Err(ClientError::BadArgument(
            "no open invitation of yours, or to a group of yours, has an id that begins so; \
             invites lists them"
                .into(),
        )),
        (Some(_), Some(_)) => Err(ClientError::BadArgument(
            "several invitations have an id that begins so; give more of it".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, Stamp, UserEntry, UserId};

    #[test]
    fn an_invitation_is_meant_by_the_beginning_of_its_id_or_by_its_link() {
        let label: crate::types::Label = "lab".parse().unwrap();
        let entry = |byte: u8| InvitationEntry {
            group: GroupId::from_bytes([1; 16]),
            label: label.clone(),
            invitation: InvitationId::from_bytes([byte; 16]),
            inviter: UserEntry { user: UserId::NOBODY, label: label.clone() },
            created: Stamp::ZERO,
            expires_ms: 0,
            uses: 1,
            used: 0,
        };
        let found = |text: &str, named| {
            find(vec![entry(0xab), entry(0xac), entry(0x12)], text, named)
                .map(|entry| entry.invitation.as_bytes()[0])
                .map_err(|error| error.to_string())
        };
        assert_eq!((found("ABA", None), found("12", None)), (Ok(0xab), Ok(0x12)));
        let named = Some(InvitationId::from_bytes([0xac; 16]));
        assert_eq!(found("posse:join/x", named), Ok(0xac));
        assert!(found("a", None).unwrap_err().contains("give more"));
        for none in ["", "ff", "posse:join/secret"] {
            let error = found(none, None).unwrap_err();
            assert!(error.contains("invites lists them") && !error.contains("secret"), "{error}");
        }
    }
}
