//! A digest of the whole directory: equal on trackers that hold the same.
//!
//! It reads every row, so it is for tests, the console and the demonstration, not for each command.
//! Rows that say that something is not there are left out: trackers delete them at their own times.
//! Every field goes in behind its length, in the order of the rows' keys.

use sha1::{Digest, Sha1};

use super::group::Group;
use super::state::Directory;
use crate::types::{FileFacts, MembershipState, Sha1Digest, Stamp, Version};

impl Directory {
    /// Hashes all rows with their versions: equal on trackers with equal directories, whatever way the
    /// rows came.
    ///
    /// Costs time in proportion to the directory.
    pub fn digest(&self) -> Sha1Digest {
        let mut sink = Sink(Sha1::new());
        for (id, register) in &self.users {
            let Some(row) = &register.value else { continue };
            sink.row("user", &[id.as_bytes()], register.version);
            sink.fields(&[row.name.as_str().as_bytes(), row.hash.as_phc().as_bytes(), &stamp(row.created)]);
            sink.fields(&[&[u8::from(row.must_change), u8::from(row.is_disabled)]]);
        }
        for (id, group) in self.groups.iter().filter(|(_, group)| group.row().is_some()) {
            sink.group(id.as_bytes(), group);
        }
        sink.0.update(format!("{:?}", self.settings).as_bytes());
        Sha1Digest::from_bytes(sink.0.finalize().into())
    }
}

fn stamp(stamp: Stamp) -> [u8; 8] {
    stamp.as_u64().to_be_bytes()
}

struct Sink(Sha1);

impl Sink {
    fn fields(&mut self, fields: &[&[u8]]) {
        for field in fields {
            self.0.update((field.len() as u64).to_be_bytes());
            self.0.update(field);
        }
    }

    fn row(&mut self, kind: &str, key: &[&[u8]], version: Version) {
        self.fields(&[kind.as_bytes()]);
        self.fields(key);
        self.fields(&[&stamp(version.stamp), version.request.as_bytes()]);
    }

    fn group(&mut self, id: &[u8], group: &Group) {
        if let (Some(register), Some(row)) = (&group.about, group.row()) {
            self.row("group", &[id], register.version);
            self.fields(&[row.name.as_str().as_bytes(), row.created_by.as_bytes(), &stamp(row.created)]);
        }
        if let Some(register) = &group.owner {
            self.row("owner", &[id], register.version);
            self.fields(&[register.value.as_bytes()]);
        }
        for (user, register) in group.standings.iter().filter(|(_, r)| r.value.state != MembershipState::None) {
            self.row("membership", &[id, user.as_bytes()], register.version);
            self.fields(&[&[register.value.state as u8], &stamp(register.value.since)]);
        }
        for (file_id, file) in &group.files {
            if let Some((register, row)) = file.about.as_ref().and_then(|r| Some((r, r.value.as_ref()?))) {
                let FileFacts { name, len, piece_len, sha1, info_hash, .. } = &row.facts;
                self.row("file", &[id, file_id.as_bytes()], register.version);
                self.fields(&[name.as_str().as_bytes(), &len.to_be_bytes(), &piece_len.to_be_bytes()]);
                self.fields(&[sha1.as_bytes(), info_hash.as_bytes(), row.shared_by.as_bytes(), &stamp(row.at)]);
            }
            for (user, register) in file.sharing.iter().filter(|(_, r)| r.value.on) {
                self.row("sharing", &[id, file_id.as_bytes(), user.as_bytes()], register.version);
            }
        }
    }
}
