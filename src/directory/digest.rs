//! A digest of the whole directory: equal on trackers that hold the same registers.
//!
//! It reads every register, so it is for tests, the console and the demonstration, not for each command. Every field goes in
//! behind its length, in the order of the registers' keys.

use sha1::{Digest, Sha1};

use super::group::Group;
use super::state::Directory;
use crate::types::{Sha1Digest, Tag};

impl Directory {
    /// Hashes all registers with their tags: equal on trackers with equal directories, whatever way the operations came.
    ///
    /// Costs time in proportion to the directory.
    pub fn digest(&self) -> Sha1Digest {
        let mut sink = Sink(Sha1::new());
        for (id, register) in &self.users {
            let value = &register.value;
            sink.register("user", &[id.as_bytes()], register.tag);
            sink.fields(&[value.name.as_str().as_bytes(), value.hash.as_phc().as_bytes(), &value.created.as_u64().to_be_bytes()]);
        }
        for (id, group) in &self.groups {
            sink.group(id.as_bytes(), group);
        }
        Sha1Digest::from_bytes(sink.0.finalize().into())
    }
}

struct Sink(Sha1);

impl Sink {
    fn fields(&mut self, fields: &[&[u8]]) {
        for field in fields {
            self.0.update((field.len() as u64).to_be_bytes());
            self.0.update(field);
        }
    }

    fn register(&mut self, kind: &str, key: &[&[u8]], tag: Tag) {
        self.fields(&[kind.as_bytes()]);
        self.fields(key);
        self.fields(&[&tag.stamp.as_u64().to_be_bytes(), tag.origin.as_bytes()]);
    }

    fn group(&mut self, id: &[u8], group: &Group) {
        if let Some(register) = &group.about {
            let value = &register.value;
            self.register("group", &[id], register.tag);
            let created = value.created.as_u64().to_be_bytes();
            self.fields(&[value.name.as_str().as_bytes(), value.created_by.as_bytes(), &created]);
        }
        if let Some(register) = &group.owner {
            self.register("owner", &[id], register.tag);
            self.fields(&[register.value.as_bytes()]);
        }
        for (user, register) in &group.standings {
            self.register("membership", &[id, user.as_bytes()], register.tag);
            self.fields(&[&[register.value.state as u8], &register.value.since.as_u64().to_be_bytes()]);
        }
        for (info_hash, file) in &group.files {
            if let Some(register) = &file.about {
                let value = &register.value;
                self.register("file", &[id, info_hash.as_bytes()], register.tag);
                self.fields(&[value.name.as_str().as_bytes(), &value.len.to_be_bytes(), &value.piece_len.to_be_bytes()]);
                self.fields(&[value.sha1.as_bytes(), value.shared_by.as_bytes(), &value.at.as_u64().to_be_bytes()]);
            }
            for (user, register) in &file.sharing {
                self.register("sharing", &[id, info_hash.as_bytes(), user.as_bytes()], register.tag);
                self.fields(&[&[u8::from(register.value)]]);
            }
        }
    }
}
