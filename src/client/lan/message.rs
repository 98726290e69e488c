//! Multicast DNS messages about Posse's service (RFC 6762, RFC 6763).
//!
//! **Invariant:** reading a datagram never panics, and keeps at most [`ANNOUNCEMENTS_MAX`]
//! announcements of [`ADDRESSES_MAX`] addresses each. Only whole announcements count: the records
//! of one service in one datagram.
//!
//! Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, RData, SRV, TXT};
use simple_dns::{CLASS, Label, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE};
use simple_dns::{ResourceRecord, SimpleDnsError};

use super::RotatingId;

/// The longest datagram (RFC 6762, section 17).
pub(crate) const DATAGRAM_MAX: usize = 9_000;
/// Records and questions of a message that is read: ours have five, and an address each.
const RECORDS_MAX: usize = 64;
/// Announcements taken from one datagram.
const ANNOUNCEMENTS_MAX: usize = 8;
/// Addresses of one announcement.
const ADDRESSES_MAX: usize = 8;
/// How long others may believe an announcement, in seconds. The id is in use for two epochs, so
/// nobody has to ask again meanwhile.
const TTL: u32 = 20 * 60;

const SERVICE: [&[u8]; 3] = [b"_posse", b"_tcp", b"local"];
const LOCAL: &[u8] = b"local";

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) id: RotatingId,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
    /// For how many seconds it holds; 0 takes it back.
    pub(crate) ttl: u32,
}

impl Announcement {
    /// An announcement of this device.
    pub(crate) fn new(id: RotatingId, port: u16, addresses: Vec<IpAddr>) -> Self {
        Self { id, port, addresses, ttl: TTL }
    }

    /// The same, taken back.
    pub(crate) fn taken_back(self) -> Self {
        Self { ttl: 0, ..self }
    }
}

/// A message of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Who is there?
    Query,
    /// Somebody is.
    Announcements(Vec<Announcement>),
}

fn name<'a>(labels: &[&'a [u8]]) -> Name<'a> {
    let labels: Vec<Label<'a>> = labels.iter().map(|label| Label::new_unchecked(*label)).collect();
    Name::new_with_labels(&labels)
}

/// Asks which devices are there.
pub(crate) fn query() -> Result<Vec<u8>, SimpleDnsError> {
    let mut packet = Packet::new_query(0);
    let (kind, class) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(name(&SERVICE), kind, class, false));
    packet.build_bytes_vec_compressed()
}

/// Tells others of this device, or takes that back.
pub(crate) fn announce(what: &Announcement) -> Result<Vec<u8>, SimpleDnsError> {
    let id = what.id.to_string();
    let [posse, tcp, local] = SERVICE;
    let (service, instance) = (name(&SERVICE), name(&[id.as_bytes(), posse, tcp, local]));
    let host = name(&[id.as_bytes(), local]);
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let record = |name: &Name<'_>, data| {
        ResourceRecord::new(name.clone().into_owned(), CLASS::IN, what.ttl, data)
    };
    packet.answers.push(record(&service, RData::PTR(instance.clone().into())));
    // Nobody else has these names.
    let unique = |name, data| record(name, data).with_cache_flush(true);
    let target = host.clone();
    let at = SRV { priority: 0, weight: 0, port: what.port, target };
    packet.answers.push(unique(&instance, RData::SRV(at)));
    // A record without text: it has to be there (RFC 6763, section 6.1).
    packet.answers.push(unique(&instance, RData::TXT(TXT::new().with_string("")?)));
    for ip in &what.addresses {
        packet.answers.push(unique(
            &host,
            match ip {
                IpAddr::V4(ip) => RData::A(A::from(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA::from(*ip)),
            },
        ));
    }
    packet.build_bytes_vec_compressed()
}

/// Reads a datagram; `None` if it is not about this service, or no message.
pub(crate) fn read(datagram: &[u8]) -> Option<Message> {
    // Most of what is sent to the group is about printers and the like.
    let [posse, ..] = SERVICE;
    let counts = datagram.get(4..12)?.chunks_exact(2);
    let records: usize =
        counts.map(|count| usize::from(u16::from_be_bytes([count[0], count[1]]))).sum();
    let is_ours = datagram.windows(posse.len()).any(|part| part.eq_ignore_ascii_case(posse));
    if !is_ours || datagram.len() > DATAGRAM_MAX || records > RECORDS_MAX {
        return None;
    }
    let packet = Packet::parse(datagram).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        let found = announcements(&packet);
        return (!found.is_empty()).then_some(Message::Announcements(found));
    }
    let service = name(&SERVICE);
    let is_asked = |question: &Question<'_>| {
        question.qname == service || question.qname.is_subdomain_of(&service)
    };
    packet.questions.iter().any(is_asked).then_some(Message::Query)
}

/// The id of `<id>.local`.
fn host_id(name: &Name<'_>) -> Option<RotatingId> {
    match name.get_labels() {
        [id, local] if local.as_ref().eq_ignore_ascii_case(LOCAL) => RotatingId::parse(id.as_ref()),
        _ => None,
    }
}

/// The id of `<id>._posse._tcp.local`.
fn instance_id(name: &Name<'_>) -> Option<RotatingId> {
    let [id, service @ ..] = name.get_labels() else { return None };
    let is_service = service.len() == SERVICE.len()
        && service.iter().zip(SERVICE).all(|(one, of)| one.as_ref().eq_ignore_ascii_case(of));
    is_service.then(|| RotatingId::parse(id.as_ref())).flatten()
}

fn announcements(packet: &Packet<'_>) -> Vec<Announcement> {
    let records = || packet.answers.iter().chain(&packet.additional_records);
    let mut addresses: HashMap<RotatingId, Vec<IpAddr>> = HashMap::new();
    for record in records() {
        let ip: IpAddr = match &record.rdata {
            RData::A(ip) => IpAddr::from(ip.address.to_be_bytes()),
            RData::AAAA(ip) => IpAddr::from(ip.address.to_be_bytes()),
            _ => continue,
        };
        let Some(id) = host_id(&record.name).filter(|_| record.ttl > 0) else { continue };
        let of_id = addresses.entry(id).or_default();
        if of_id.len() < ADDRESSES_MAX && !of_id.contains(&ip.to_canonical()) {
            of_id.push(ip.to_canonical());
        }
    }
    let service = |record: &ResourceRecord<'_>| {
        let id = instance_id(&record.name)?;
        let RData::SRV(at) = &record.rdata else { return None };
        let addresses = addresses.get(&id).cloned().unwrap_or_default();
        let is_whole = host_id(&at.target) == Some(id) && at.port != 0;
        let is_of_use = record.ttl == 0 || !addresses.is_empty();
        let announcement = Announcement { id, port: at.port, addresses, ttl: record.ttl.min(TTL) };
        (is_whole && is_of_use).then_some(announcement)
    };
    records().filter_map(service).take(ANNOUNCEMENTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{DeviceId, Fingerprint};

    fn id(device: u8) -> RotatingId {
        let network = Fingerprint::from_bytes([1; 32]);
        RotatingId::new(network, DeviceId::from_bytes([device; 32]), 1)
    }

    fn sample() -> Announcement {
        let addresses = ["192.168.1.7", "fd00::7"].map(|ip| ip.parse().unwrap());
        Announcement::new(id(2), 6001, addresses.to_vec())
    }

    #[test]
    fn what_is_announced_is_read() {
        let announcement = sample();
        let bytes = announce(&announcement).unwrap();
        assert!(bytes.len() < 512, "{} bytes", bytes.len());
        assert_eq!(read(&bytes), Some(Message::Announcements(vec![announcement.clone()])));
        let gone = Announcement { addresses: Vec::new(), ..announcement.clone().taken_back() };
        let bytes = announce(&announcement.taken_back()).unwrap();
        assert_eq!(read(&bytes), Some(Message::Announcements(vec![gone])));
        assert_eq!(read(&query().unwrap()), Some(Message::Query));
    }

    #[test]
    fn nothing_but_the_id_names_the_device() {
        let bytes = announce(&sample()).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        let text = sample().id.to_string();
        for record in &packet.answers {
            let labels: Vec<String> =
                record.name.get_labels().iter().map(ToString::to_string).collect();
            let of_service = ["_posse", "_tcp", "local"];
            assert!(labels.iter().all(|one| *one == text || of_service.contains(&one.as_str())));
            match &record.rdata {
                RData::TXT(text) => assert_eq!(text.iter_raw().count(), 0),
                RData::SRV(at) => assert_eq!(at.target.to_string(), format!("{text}.local")),
                RData::PTR(_) | RData::A(_) | RData::AAAA(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn another_service_or_host_is_not_taken() {
        let of = |change: &dyn Fn(&mut Packet<'_>)| {
            let bytes = announce(&sample()).unwrap();
            let mut packet = Packet::parse(&bytes).unwrap();
            change(&mut packet);
            read(&packet.build_bytes_vec_compressed().unwrap())
        };
        assert!(of(&|_| {}).is_some());
        let of_srv = |packet: &mut Packet<'_>, change: &dyn Fn(&mut SRV<'_>)| {
            for record in &mut packet.answers {
                if let RData::SRV(at) = &mut record.rdata {
                    change(at);
                }
            }
        };
        let elsewhere = |at: &mut SRV<'_>| at.target = Name::new_unchecked("bank.local");
        assert_eq!(of(&|packet| of_srv(packet, &elsewhere)), None);
        assert_eq!(of(&|packet| of_srv(packet, &|at| at.port = 0)), None);
        assert_eq!(of(&|packet| packet.answers.truncate(3)), None, "no address");
        let nik = |packet: &mut Packet<'_>| {
            packet.answers.iter_mut().for_each(|record| {
                record.name = Name::new_unchecked("nik._posse._tcp.local");
            });
        };
        assert_eq!(of(&nik), None);
    }

    #[test]
    fn a_message_of_very_many_records_is_not_read() {
        let mut bytes = announce(&sample()).unwrap();
        // What the header claims is not allocated.
        bytes[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(read(&bytes), None);
        let many = (0..200).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(read(&announce(&Announcement::new(id(2), 1, many)).unwrap()), None);
        let some = (0..20).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let bytes = announce(&Announcement::new(id(2), 1, some)).unwrap();
        let Some(Message::Announcements(found)) = read(&bytes) else { panic!("it is read") };
        assert_eq!(found[0].addresses.len(), ADDRESSES_MAX);
    }

    proptest! {
        #[test]
        fn no_datagram_harms(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            read(&bytes);
            bytes.extend(b"\x06_posse");
            if let Some(counts) = bytes.get_mut(4..12) {
                counts.copy_from_slice(&[0, 1, 0, 3, 0, 0, 0, 1]);
            }
            read(&bytes);
        }

        #[test]
        fn no_changed_announcement_harms(at in 0..600_usize, byte: u8, cut in 0..600_usize) {
            let mut bytes = announce(&sample()).unwrap();
            let len = bytes.len();
            bytes[at % len] = byte;
            read(&bytes);
            bytes.truncate(cut % len);
            read(&bytes);
        }
    }
}
