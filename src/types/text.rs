//! Serde traits of types that are strings in JSON: `Display` writes, `FromStr` reads. Their schemas
//! for descriptions of an interface.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::limits::LABEL_LEN_MAX;

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

/// Implements `JsonSchema` by a schema.
macro_rules! schema_is {
    ($($name:ident: $schema:expr),+ $(,)?) => {$(
        impl JsonSchema for super::$name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+};
}

schema_is!(
    DeviceId: digits("The id of a device.", 64),
    FileId: digits("The id of a file: of its content and every fact about it.", 40),
    GroupId: digits("The id of a group.", 32),
    InfoHash: digits("The id of a content.", 40),
    InvitationId: digits("The id of an invitation.", 32),
    Sha1Digest: digits("A SHA-1.", 40),
    UserId: digits("The id of a user.", 32),
    Fingerprint: json_schema!({
        "description": "The name of a network's key.",
        "type": "string",
        "pattern": "^sha256:[0-9a-f]{64}$",
    }),
    Label: json_schema!({
        "description": "A name as shown. It may change; the id beside it does not.",
        "type": "string",
        "minLength": 1,
        "maxLength": LABEL_LEN_MAX,
    }),
    Pattern: json_schema!({
        "description": "A part of a name, or a pattern with * and ?; at most 266 bytes.",
        "type": "string",
        "minLength": 1,
        "maxLength": LABEL_LEN_MAX,
    }),
    Rate: json_schema!({
        "description": "Bytes per second.",
        "type": "integer",
        "minimum": super::Rate::MIN.get(),
        "maximum": u64::MAX,
    }),
);

fn digits(description: &str, count: usize) -> Schema {
    let pattern = format!("^[0-9a-f]{{{count}}}$");
    json_schema!({ "description": description, "type": "string", "pattern": pattern })
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
