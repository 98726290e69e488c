//! Serde traits of types that are strings in JSON: `Display` writes, `FromStr` reads.

/// Implements serde's traits through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

serde_as_text!(
    super::DeviceId,
    super::FileId,
    super::Fingerprint,
    super::GroupId,
    super::InfoHash,
    super::InvitationId,
    super::Label,
    super::Pattern,
    super::Sha1Digest,
    super::UserId,
);

impl serde::Serialize for super::Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl<'de> serde::Deserialize<'de> for super::Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = u64::deserialize(deserializer)?;
        Self::new(rate).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::types::{GroupId, Label, Rate};

    #[test]
    fn ids_and_names_are_texts_and_are_checked() {
        let id = GroupId::from_bytes([0xab; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{}\"", "ab".repeat(16)));
        assert_eq!(serde_json::from_str::<GroupId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<GroupId>("\"ab\"").is_err());
        let label: Label = serde_json::from_str("\"a \\\"b\\\"\"").unwrap();
        assert_eq!(label.as_str(), "a \"b\"");
        assert!(serde_json::from_str::<Rate>("0").is_err());
    }
}
