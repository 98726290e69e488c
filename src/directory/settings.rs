//! What the operator sets for the whole network: quotas, who may make accounts, and the trackers.
//!
//! **Invariant:** an unset or unreadable value is the default.

use std::collections::BTreeMap;

use crate::types::{Fingerprint, KeyRotation, RotationStage, SettingName};

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accounts {
    /// Anybody.
    #[default]
    Open,
    /// Those who have an invitation to a group.
    Invite,
    /// Nobody.
    Closed,
}

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Groups that one account may own.
    pub groups: u64,
    /// Groups that one account may be in or have asked to join.
    pub memberships: u64,
    /// Files that one account may offer, in all groups together.
    pub files: u64,
    /// Members and requests to join of one group.
    pub members: u64,
    /// Rows of the whole network.
    pub rows: u64,
    /// About how many bytes of disk the rows of the whole network take.
    pub bytes: u64,
}

impl Quotas {
    /// The quota with that name, one of [`QUOTA_NAMES`].
    pub fn get(&self, name: &str) -> Option<u64> {
        Some(match name {
            "groups" => self.groups,
            "memberships" => self.memberships,
            "files" => self.files,
            "members" => self.members,
            "rows" => self.rows,
            "bytes" => self.bytes,
            _ => return None,
        })
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            groups: 200,
            memberships: 2_000,
            files: 50_000,
            members: 20_000,
            rows: 20_000_000,
            bytes: 16 << 30,
        }
    }
}

/// The settings in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How much may be kept.
    pub quotas: Quotas,
    /// Who may make an account.
    pub accounts: Accounts,
    /// Trackers that were added or removed while running: number to address, `None` for one
    /// removed.
    pub trackers: BTreeMap<u32, Option<String>>,
    /// The network's key and the one that takes its place, begun or cancelled. The tracker checks
    /// the signature.
    pub rotation: Option<KeyRotation>,
    /// The change of keys that has ended last. It has a setting of its own, so that no other write
    /// undoes it.
    pub ended: Option<KeyRotation>,
    /// The key besides its first one that a tracker has said to hold: number to fingerprint.
    pub key_holders: BTreeMap<u32, String>,
}

/// Name of the setting that says which key takes the place of the network's.
pub const KEY_ROTATION: &str = "key.rotation";

/// Name of the setting that says which key has taken the place of the network's.
pub const KEY_ENDED: &str = "key.ended";

/// Names of the quotas, as in `quota.groups`.
pub const QUOTA_NAMES: [&str; 6] = ["groups", "memberships", "files", "members", "rows", "bytes"];

impl Settings {
    /// Tells whether a value may be set; `None` restores the default.
    pub fn is_valid(name: &SettingName, value: Option<&str>) -> bool {
        let Some(value) = value else { return true };
        if value.len() > 1024 {
            return false;
        }
        match name.as_str().split_once('.') {
            None if name.as_str() == "accounts" => accounts(value).is_some(),
            Some(("quota", quota)) => QUOTA_NAMES.contains(&quota) && value.parse::<u64>().is_ok(),
            Some(("tracker", number)) => number.parse::<u32>().is_ok_and(|n| n > 0),
            Some(("key", "rotation")) => {
                rotation(value).is_some_and(|rotation| rotation.stage != RotationStage::Ended)
            }
            Some(("key", "ended")) => {
                rotation(value).is_some_and(|rotation| rotation.stage == RotationStage::Ended)
            }
            Some(("key", holder)) => {
                holder_number(holder).is_some() && value.parse::<Fingerprint>().is_ok()
            }
            _ => false,
        }
    }

    /// Takes a setting over.
    pub(super) fn set(&mut self, name: &SettingName, value: Option<&str>) {
        match name.as_str().split_once('.') {
            None if name.as_str() == "accounts" => {
                self.accounts = value.and_then(accounts).unwrap_or_default()
            }
            Some(("quota", quota)) => {
                let (default, number) =
                    (Quotas::default(), value.and_then(|value| value.parse().ok()));
                let set = |field: &mut u64, default: u64| *field = number.unwrap_or(default);
                let quotas = &mut self.quotas;
                match quota {
                    "groups" => set(&mut quotas.groups, default.groups),
                    "memberships" => set(&mut quotas.memberships, default.memberships),
                    "files" => set(&mut quotas.files, default.files),
                    "members" => set(&mut quotas.members, default.members),
                    "rows" => set(&mut quotas.rows, default.rows),
                    "bytes" => set(&mut quotas.bytes, default.bytes),
                    _ => {}
                }
            }
            Some(("tracker", number)) => {
                let Ok(number) = number.parse::<u32>() else { return };
                match value {
                    None => drop(self.trackers.remove(&number)),
                    Some("removed") => drop(self.trackers.insert(number, None)),
                    Some(address) => drop(self.trackers.insert(number, Some(address.to_owned()))),
                }
            }
            Some(("key", "rotation")) => self.rotation = value.and_then(rotation),
            Some(("key", "ended")) => self.ended = value.and_then(rotation),
            Some(("key", holder)) => match (holder_number(holder), value) {
                (Some(number), Some(value)) => {
                    drop(self.key_holders.insert(number, value.to_owned()))
                }
                (Some(number), None) => drop(self.key_holders.remove(&number)),
                (None, _) => {}
            },
            _ => {}
        }
    }
}

fn rotation(text: &str) -> Option<KeyRotation> {
    text.parse().ok()
}

/// The tracker's number in `holder.3`, the part behind the dot of the setting's name.
fn holder_number(text: &str) -> Option<u32> {
    text.strip_prefix("holder.")?.parse().ok().filter(|number| *number > 0)
}

fn accounts(text: &str) -> Option<Accounts> {
    match text {
        "open" => Some(Accounts::Open),
        "invite" => Some(Accounts::Invite),
        "closed" => Some(Accounts::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_defaults_come_back() {
        let name = |text: &str| text.parse::<SettingName>().unwrap();
        let mut settings = Settings::default();
        for (setting, good, bad) in
            [("quota.groups", "7", "x"), ("accounts", "closed", "shut"), ("tracker.3", "h:1", "")]
        {
            assert!(Settings::is_valid(&name(setting), Some(good)));
            assert!(bad.is_empty() || !Settings::is_valid(&name(setting), Some(bad)));
            settings.set(&name(setting), Some(good));
        }
        assert_eq!((settings.quotas.groups, settings.accounts), (7, Accounts::Closed));
        assert_eq!(settings.trackers, BTreeMap::from([(3, Some("h:1".to_owned()))]));
        settings.set(&name("tracker.3"), Some("removed"));
        assert_eq!(settings.trackers, BTreeMap::from([(3, None)]));
        for setting in ["quota.groups", "accounts", "tracker.3"] {
            settings.set(&name(setting), None);
        }
        assert_eq!(settings, Settings::default());
        assert!(
            !Settings::is_valid(&name("quota.sheep"), Some("1"))
                && !Settings::is_valid(&name("x"), Some("1"))
        );
    }

    #[test]
    fn keys_are_set_and_what_is_none_is_refused() {
        let name = |text: &str| text.parse::<SettingName>().unwrap();
        let rotation = format!("begun {} {} {}", "01".repeat(32), "02".repeat(32), "03".repeat(64));
        let ended = rotation.replace("begun", "ended");
        let holder = format!("sha256:{}", "02".repeat(32));
        let mut settings = Settings::default();
        for (setting, good) in
            [(KEY_ROTATION, &rotation), (KEY_ENDED, &ended), ("key.holder.2", &holder)]
        {
            assert!(
                Settings::is_valid(&name(setting), Some(good))
                    && !Settings::is_valid(&name(setting), Some("x"))
            );
            settings.set(&name(setting), Some(good));
        }
        assert_eq!(
            [settings.rotation, settings.ended].map(|set| set.unwrap().to_string()),
            [rotation.clone(), ended.clone()]
        );
        for (setting, bad) in [(KEY_ROTATION, &ended), (KEY_ENDED, &rotation)] {
            assert!(!Settings::is_valid(&name(setting), Some(bad)), "the end has its own setting");
        }
        assert_eq!(settings.key_holders, BTreeMap::from([(2, holder.clone())]));
        for bad in ["key.holder.0", "key.holder.x", "key.other"] {
            assert!(!Settings::is_valid(&name(bad), Some(&holder)), "{bad}");
        }
        [KEY_ROTATION, KEY_ENDED, "key.holder.2"]
            .iter()
            .for_each(|setting| settings.set(&name(setting), None));
        assert_eq!(settings, Settings::default());
    }
}
