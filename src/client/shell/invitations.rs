//! The commands about invitations.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::answer::Answer;
use super::output::Format;
use super::render::{date, to_value};
use super::session::Shell;
use super::table::Flags;
use crate::client::api::{ApiError, Command, Invite, LinkText, Reply};
use crate::types::invitation_link::InvitationLink;
use crate::types::{InvitationId, TrackerAddress};

/// Hexadecimal digits by which invitations are shown to people.
const SHORT_ID_LEN: usize = 12;

type Result<T> = std::result::Result<T, ApiError>;

impl Shell {
    /// Carries out `invite`.
    pub(super) fn invite(&self, group: &str, flags: &Flags) -> Result<Answer> {
        let number =
            |name: &str| flags.value(name).map(|text| parse_number(name, text)).transpose();
        let (uses, days) = (number("--uses")?, number("--days")?);
        let new =
            self.call(Command::Invite { group: group.to_owned(), uses, days })?.new_invite()?;
        let mut rows = vec![vec![new.link.clone()]];
        if self.output.format() == Format::Table {
            rows.extend(draw(&new.link).into_iter().map(|line| vec![line]));
            let whom = match new.invite.uses {
                1 => "one user".to_owned(),
                uses => format!("{uses} users"),
            };
            rows.push(vec![format!(
                "lets {whom} into {} until {}; it is not shown again",
                new.invite.group,
                date(new.invite.expires_ms)
            )]);
            if is_for_this_machine(&new.link) {
                rows.push(vec![
                    "it names trackers at addresses of this machine alone: other machines cannot use it"
                        .to_owned(),
                ]);
            }
        }
        // A drawing for a page is of no use here.
        Ok(Answer::rows(rows, "").with("link", new.link).with_all(&new.invite))
    }

    /// Carries out `invites`.
    pub(super) fn invites(&self) -> Result<Answer> {
        let invites = self.all(|listing| Command::Invites { listing }, Reply::invites)?;
        let format = self.output.format();
        let rows = invites.iter().map(|invite| row(invite, format)).collect();
        Ok(Answer::rows(rows, "no open invitations")
            .with("invites", invites.iter().map(to_value).collect::<Vec<_>>()))
    }

    /// Carries out `revoke_invite`.
    pub(super) fn revoke_invite(&self, text: &str) -> Result<Answer> {
        let invite = LinkText::new(text.to_owned());
        let invite = self.call(Command::RevokeInvite { invite })?.invite()?;
        let id = short_id(invite.invite);
        Ok(Answer::line(format!("revoked the invitation {id} to {}", invite.group))
            .with_all(&invite))
    }

    /// Carries out `remove_member`. Tells which invitation ended with the membership, and how many
    /// are left by which the user may come back with another account.
    pub(super) fn remove_member(&self, group: String, user: String) -> Result<Answer> {
        let before = self.usable_invites(&group, &user);
        let (of, who) = (group.clone(), user.clone());
        self.call(Command::RemoveMember { group: of, user: who })?;
        let mut rows = vec![vec![format!("removed {user} from {group}")]];
        let answer = |rows| Answer::rows(rows, "").with("group", &*group).with("user", &*user);
        // An older tracker knows no invitations.
        let Some((before, after)) = before.zip(self.usable_invites(&group, &user)) else {
            return Ok(answer(rows));
        };
        let revoked: Vec<InvitationId> =
            before.into_iter().filter(|invite| !after.contains(invite)).collect();
        for &invite in &revoked {
            let id = short_id(invite);
            rows.push(vec![format!("revoked the invitation {id}, by which {user} had come")]);
        }
        if let Some(text) = may_come_back(&user, &group, after.len()) {
            rows.push(vec![text]);
        }
        Ok(answer(rows)
            .with("revoked_invites", to_value(&revoked))
            .with("open_invites", after.len()))
    }

    /// The invitations to a group that are open, as far as this user may see them, but for those of
    /// a member who is removed: these are void then. `None` if the trackers do not tell.
    fn usable_invites(&self, group: &str, removed: &str) -> Option<Vec<InvitationId>> {
        let invites = self.all(|listing| Command::Invites { listing }, Reply::invites).ok()?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_usable = |invite: &&Invite| {
            invite.group.as_str() == group
                && invite.inviter.as_str() != removed
                && invite.used < invite.uses
                && u128::from(invite.expires_ms) >= since_epoch.as_millis()
        };
        Some(invites.iter().filter(is_usable).map(|invite| invite.invite).collect())
    }

    /// Carries out `group_settings`.
    pub(super) fn group_settings(&self, group: &str, flags: &Flags) -> Result<Answer> {
        let members_invite = match flags.value("--members-invite") {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(other) => {
                return Err(ApiError::bad_argument(format!(
                    "--members-invite is on or off, not {other:?}"
                )));
            }
        };
        let command = Command::GroupSettings { group: group.to_owned(), members_invite };
        let settings = self.call(command)?.group_settings()?;
        let text = match settings.members_invite {
            Some(true) => format!("{group}: every member may invite"),
            Some(false) => format!("{group}: only the owner may invite"),
            None => format!("{group}: the tracker knows no settings; it is older than this client"),
        };
        Ok(Answer::line(text).with_all(&settings))
    }
}

/// What is said of invitations that a removal leaves open.
fn may_come_back(user: &str, group: &str, open: usize) -> Option<String> {
    let (are, one) = match open {
        0 => return None,
        1 => ("1 invitation is".to_owned(), "it"),
        _ => (format!("{open} invitations are"), "one of them"),
    };
    Some(format!(
        "{are} open to {group}: if {user} has the link of {one}, {user} may come back with another \
         account; invites lists them, revoke_invite ends one"
    ))
}

fn parse_number(name: &str, text: &str) -> Result<u32> {
    text.parse().map_err(|_| {
        ApiError::bad_argument(format!(
            "{text:?} is not a number for {name}; give one, as {name} 3"
        ))
    })
}

/// The beginning of an invitation's id, for people.
pub(super) fn short_id(invitation: InvitationId) -> String {
    let mut text = invitation.to_string();
    text.truncate(SHORT_ID_LEN);
    text
}

fn row(invite: &Invite, format: Format) -> Vec<String> {
    let id = match format {
        Format::Table => short_id(invite.invite),
        Format::Plain | Format::Json => invite.invite.to_string(),
    };
    vec![
        id,
        invite.group.to_string(),
        format!("by {}", invite.inviter),
        format!("used {} of {}", invite.used, invite.uses),
        format!("until {}", date(invite.expires_ms)),
    ]
}

/// Tells whether all trackers that a link names are at loopback addresses.
fn is_for_this_machine(link: &str) -> bool {
    let is_loopback = |address: &TrackerAddress| match address.host().parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => address.host() == "localhost",
    };
    InvitationLink::parse(link).is_ok_and(|link| link.trackers.iter().all(is_loopback))
}

/// Draws a link as a QR code for a dark terminal, two modules a character.
fn draw(link: &str) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(link, qrcode::EcLevel::L) else {
        return Vec::new();
    };
    let drawn =
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    drawn.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_fits_a_terminal() {
        // As long as the link of a network with two trackers.
        let lines = draw(&format!("posse:join/{}", "A".repeat(150)));
        assert!((20..=35).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 70));
        assert!(lines[0].chars().all(|c| c == '\u{2588}'), "a light margin: {}", lines[0]);
        assert!(draw(&"A".repeat(5000)).is_empty());
    }

    #[test]
    fn links_to_this_machine_are_told_apart() {
        use crate::types::{Fingerprint, GroupId, InvitationSecret};
        for (trackers, is_here) in [
            (&["127.0.0.1:5000", "[::1]:7000", "localhost:1"][..], true),
            (&["127.0.0.1:5000", "10.0.0.1:7000"], false),
            (&["tracker.example:5000"], false),
        ] {
            let trackers: Vec<TrackerAddress> =
                trackers.iter().map(|text| text.parse().unwrap()).collect();
            let group = (GroupId::from_bytes([1; 16]), "lab".parse().unwrap());
            let secret = InvitationSecret::from_bytes([2; 16]);
            let network = Fingerprint::from_bytes([3; 32]);
            let link = InvitationLink::new(network, group, secret, &trackers);
            assert_eq!(is_for_this_machine(&link.to_text()), is_here, "{trackers:?}");
        }
    }

    #[test]
    fn an_owner_is_told_what_a_removal_leaves_open() {
        assert_eq!(may_come_back("eve", "lab", 0), None);
        let [one, two] = [1, 2].map(|open| may_come_back("eve", "lab", open).unwrap());
        assert!(
            one.starts_with("1 invitation is open to lab: if eve has the link of it, "),
            "{one}"
        );
        assert!(two.starts_with("2 invitations are open to lab: ") && two.contains("one of them"));
    }

    #[test]
    fn numbers_are_numbers() {
        assert_eq!(parse_number("--uses", "3").unwrap(), 3);
        for bad in ["", "-1", "x", "1.5"] {
            let error = parse_number("--uses", bad).unwrap_err().to_string();
            assert!(error.contains("--uses 3"), "{error}");
        }
    }
}
