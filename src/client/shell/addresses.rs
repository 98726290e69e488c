//! The command about this device's addresses.

use super::answer::Answer;
use super::render::date;
use super::session::Shell;
use crate::client::api::{Addresses, ApiError, Command, Lan};
use crate::types::{DeviceId, Label, unreachable_text};

impl Shell {
    /// Carries out `addresses`.
    pub(super) fn addresses(&self) -> Result<Answer, ApiError> {
        let addresses = self.call(Command::Addresses)?.addresses()?;
        Ok(Answer { rows: rows(&addresses), ..Answer::default() }.with_all(&addresses))
    }
}

fn rows(addresses: &Addresses) -> Vec<Vec<String>> {
    let row = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut rows = vec![row(&["listens", &addresses.listen.to_string(), ""])];
    for offered in &addresses.offered {
        rows.push(row(&["offers", &offered.address.to_string(), &offered.kind]));
    }
    for seen in &addresses.observed {
        let tracker = format!("by tracker {}", seen.tracker);
        rows.push(row(&["seen", &seen.address.to_string(), &tracker]));
    }
    for link in &addresses.reached {
        let who = named(link.user.as_ref(), &link.device);
        rows.push(row(&["reached", &link.at.to_string(), &format!("by {who} from {}", link.from)]));
    }
    for tracker in &addresses.relays {
        rows.push(row(&["relay", tracker, "when there is no other way"]));
    }
    if let Some(relaying) = addresses.relaying {
        rows.push(row(&["relays", &relaying.to_string(), "for members of your groups"]));
    }
    for router in &addresses.routers {
        let until = router.until_ms.map(|until| format!(", until {}", date(until)));
        let text = format!("{}{}", router.text, until.unwrap_or_default());
        rows.push(row(&["router", &router.router.to_string(), &text]));
    }
    if let Some(why) = &addresses.no_mapping {
        rows.push(row(&["router", "-", why]));
    }
    if let Some(unreachable) = &addresses.unreachable {
        let text = unreachable_text(unreachable.members, unreachable.address);
        rows.push(row(&["failed", &unreachable.address.to_string(), &text]));
    }
    rows.extend(addresses.lan.iter().flat_map(lan_rows));
    rows
}

fn lan_rows(lan: &Lan) -> Vec<Vec<String>> {
    let row = |word: &str, what: &str, how: String| vec![word.into(), what.into(), how];
    let is_on = lan.announced.as_ref().map(|id| row("lan", "on", format!("announced as {id}")));
    let is_off = lan.reason.as_ref().map(|why| row("lan", "off", why.clone()));
    let mut rows: Vec<_> = is_on.into_iter().chain(is_off).collect();
    for found in &lan.found {
        let who = named(found.user.as_ref(), &found.device);
        rows.extend(
            found.addresses.iter().map(|address| {
                row("found", &address.to_string(), format!("{who} on this network"))
            }),
        );
    }
    rows
}

fn named(user: Option<&Label>, device: &DeviceId) -> String {
    user.map_or_else(|| format!("device {:.12}", device.to_string()), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::{
        FoundDevice, ObservedAddress, OfferedAddress, ReachedAddress, RouterMapping, Unreachable,
    };

    #[test]
    fn each_address_is_a_line() {
        let at = |text: &str| text.parse().unwrap();
        let device = DeviceId::from_bytes([7; 32]);
        let reached = |user: Option<&str>| ReachedAddress {
            device,
            user: user.map(|user| user.parse().unwrap()),
            at: at("10.0.0.5:6001"),
            from: at("10.0.0.9:40000"),
        };
        let addresses = Addresses {
            listen: at("0.0.0.0:6001"),
            offered: vec![OfferedAddress {
                address: at("10.0.0.5:6001"),
                kind: "interface".into(),
            }],
            observed: vec![ObservedAddress {
                tracker: "t.example:5000".into(),
                address: at("203.0.113.1:6001"),
            }],
            reached: vec![reached(Some("bob")), reached(None)],
            relays: vec!["t.example:5000".into()],
            relaying: Some(at("0.0.0.0:7880")),
            unreachable: Some(Unreachable { address: at("203.0.113.1:6001"), members: 2 }),
            lan: Some(Lan {
                announced: Some("00ff".into()),
                reason: None,
                found: vec![FoundDevice {
                    device,
                    user: Some("bob".parse().unwrap()),
                    addresses: vec![at("10.0.0.9:6001"), at("[fd00::9]:6001")],
                }],
            }),
            routers: vec![RouterMapping {
                protocol: "pcp".into(),
                router: "10.0.0.1".parse().unwrap(),
                address: at("10.0.0.5:6001"),
                external: Some(at("203.0.113.1:7001")),
                until_ms: Some(60_000),
                behind_another: false,
                error: None,
                text: "it forwards".into(),
            }],
            no_mapping: Some("no".into()),
        };
        let lines: Vec<String> = rows(&addresses).iter().map(|row| row.join(" ")).collect();
        let want = [
            "listens 0.0.0.0:6001 ",
            "offers 10.0.0.5:6001 interface",
            "seen 203.0.113.1:6001 by tracker t.example:5000",
            "reached 10.0.0.5:6001 by bob from 10.0.0.9:40000",
            "reached 10.0.0.5:6001 by device 070707070707 from 10.0.0.9:40000",
            "relay t.example:5000 when there is no other way",
            "relays 0.0.0.0:7880 for members of your groups",
            "router 10.0.0.1 it forwards, until 1970-01-01 00:01 UTC",
            "router - no",
        ];
        assert_eq!(lines[..9], want);
        assert!(lines[9].starts_with("failed 203.0.113.1:6001 2 members"), "{}", lines[9]);
        let of_lan = [
            "lan on announced as 00ff",
            "found 10.0.0.9:6001 bob on this network",
            "found [fd00::9]:6001 bob on this network",
        ];
        assert_eq!(lines[10..], of_lan);
        let off = Lan { announced: None, reason: Some("--no-lan".into()), found: Vec::new() };
        assert_eq!(lan_rows(&off), [["lan", "off", "--no-lan"]]);
    }
}
