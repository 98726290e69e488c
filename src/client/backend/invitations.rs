//! Commands about invitations.

use qrcode::{Color, EcLevel, QrCode};

use super::super::api::{GroupSettings, Invite, Joined, Listing, NewInvite, Page, QrImage};
use super::super::{Client, ClientError};
use super::Backend;
use super::listings::part;
use crate::types::invitation_link::InvitationLink;
use crate::types::{GroupEntry, InvitationEntry, UserEntry};

/// Users whom an invitation lets in, if nothing else is said.
const USES: u32 = 1;
/// Days for which it may be used, if nothing else is said.
const DAYS: u32 = 7;

impl Backend {
    pub(super) fn invite(
        &self,
        group: &str,
        uses: Option<u32>,
        days: Option<u32>,
    ) -> Result<NewInvite, ClientError> {
        let (uses, days) = (uses.unwrap_or(USES), days.unwrap_or(DAYS));
        let (link, entry) = self.client.invite(group, uses, days)?;
        let link = link.to_text();
        Ok(NewInvite { qr: qr(&link), link: link.to_string(), invite: invite(entry) })
    }

    pub(super) fn invites(&self, listing: &Listing) -> Result<Page<Invite>, ClientError> {
        let entries = self.client.invitations().all()?;
        part(entries.into_iter().map(invite).collect(), listing)
    }

    pub(super) fn revoke_invite(&self, text: &str) -> Result<Invite, ClientError> {
        self.client.revoke_invitation(text).map(invite)
    }
}

pub(super) fn join(client: &Client, link: &str) -> Result<Joined, ClientError> {
    let joined = client.use_invitation(&InvitationLink::parse(link)?)?;
    Ok(Joined { group: joined.label, group_id: joined.group })
}

pub(super) fn group_settings(entry: GroupEntry) -> GroupSettings {
    let GroupEntry { group: group_id, label: group, settings, .. } = entry;
    let members_invite = settings.map(|settings| settings.members_invite);
    GroupSettings { group, group_id, members_invite }
}

fn invite(entry: InvitationEntry) -> Invite {
    let UserEntry { user: inviter_id, label: inviter } = entry.inviter;
    Invite {
        invite: entry.invitation,
        group: entry.label,
        group_id: entry.group,
        inviter,
        inviter_id,
        created_ms: entry.created.ms(),
        expires_ms: entry.expires_ms,
        uses: entry.uses,
        used: entry.used,
    }
}

/// Draws a QR code as a path of SVG: a module is one unit. `None` for a link that is too long for
/// one.
fn qr(link: &str) -> Option<QrImage> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    let size = code.width();
    let mut path = String::new();
    for (y, row) in code.to_colors().chunks(size).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if run[0] == Color::Dark {
                path.push_str(&format!("M{x} {y}h{len}v1h-{len}z", len = run.len()));
            }
            x += run.len();
        }
    }
    Some(QrImage { size, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_within_its_size() {
        let link = "posse:join/AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fIiIi";
        let image = qr(link).unwrap();
        // The finder pattern of the upper left corner.
        assert!(image.path.starts_with("M0 0h7v1h-7z"), "{}", &image.path[..40]);
        // The path covers the dark modules and no others.
        let mut drawn = vec![Color::Light; image.size * image.size];
        for run in image.path.trim_end_matches('z').split('z') {
            let (place, len) = run[1..].split_once('h').unwrap();
            let (x, y) = place.split_once(' ').unwrap();
            let len: usize = len.split('v').next().unwrap().parse().unwrap();
            let from = y.parse::<usize>().unwrap() * image.size + x.parse::<usize>().unwrap();
            drawn[from..from + len].fill(Color::Dark);
        }
        let code = QrCode::with_error_correction_level(link, EcLevel::L).unwrap();
        assert_eq!(drawn, code.to_colors());
        assert!(qr(&"x".repeat(5000)).is_none());
    }
}
