//! Names of what the operator sets.

use std::fmt;
use std::str::FromStr;

/// Bytes in a setting's name: a tracker's address, and a word before it.
const LEN_MAX: usize = 300;

/// The name of a setting, as `quota.groups` or `tracker.host:port`.
///
/// **Invariant:** 1 to 300 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingName(Box<str>);

/// Says why a text is not a setting's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a setting's name has 1 to 300 printable ASCII characters and no spaces")]
pub struct SettingNameError;

impl SettingName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SettingName {
    type Err = SettingNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid =
            (1..=LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(SettingNameError) }
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert_eq!("quota.groups".parse::<SettingName>().unwrap().to_string(), "quota.groups");
        for bad in ["", "a b", "a\n", "ü", &"x".repeat(301)] {
            assert!(bad.parse::<SettingName>().is_err(), "{bad:?}");
        }
    }
}
