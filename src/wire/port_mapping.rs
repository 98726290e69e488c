//! Requests to a router that forwards ports, and its answers: PCP (RFC 6887) and NAT-PMP
//! (RFC 6886), which share UDP port 5351.
//!
//! **Invariant:** [`Answer::decode`] allocates nothing. It takes what is not the answer to one of
//! these requests for an error, and leaves options of PCP and later fields aside.
//!
//! PCP, opcode MAP:
//!
//! | bytes | request | answer |
//! |---|---|---|
//! | 1 | version, 2 | the same |
//! | 1 | opcode, 1 | 128 + opcode |
//! | 2 | 0 | reserved, result |
//! | 4 | lifetime in seconds; 0 takes the mapping back | the lifetime granted |
//! | 4 | first part of the client's address | the server's clock in seconds, its *epoch* |
//! | 12 | the rest of the address | reserved |
//! | 12 | nonce | the same |
//! | 1, 3 | protocol, 6 for TCP; 0 | the same |
//! | 2, 2 | internal port, external port wished for | internal port, external port |
//! | 16 | external address wished for | external address |
//!
//! Opcode ANNOUNCE (0) has the first 24 bytes alone. Addresses of IPv4 are mapped into IPv6.
//!
//! NAT-PMP, opcodes 0 (external address) and 2 (map TCP):
//!
//! | bytes | request | answer |
//! |---|---|---|
//! | 1 | version, 0 | the same |
//! | 1 | opcode | 128 + opcode |
//! | 2 | 0; missing in opcode 0 | result |
//! | 2, 2 | internal port, external port wished for | epoch, 4 bytes |
//! | 4 | lifetime in seconds | opcode 0: external address; opcode 2: internal, external port |
//! | 4 | | opcode 2: lifetime |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use byteorder::{BigEndian, ByteOrder as _};

/// The port of routers for both protocols.
pub const PORT: u16 = 5351;
/// Longest answer: RFC 6887, section 7.
pub const ANSWER_LEN_MAX: usize = 1100;

const PCP: u8 = 2;
const NAT_PMP: u8 = 0;
const OF_SERVER: u8 = 0x80;
const PCP_ANNOUNCE: u8 = 0;
const PCP_MAP: u8 = 1;
const PCP_HEAD_LEN: usize = 24;
const PCP_MAP_LEN: usize = 60;
const NAT_PMP_ADDRESS: u8 = 0;
const NAT_PMP_MAP_TCP: u8 = 2;
const TCP: u8 = 6;

/// Tells one mapping of a client from another's.
pub type Nonce = [u8; 12];

/// A mapping as PCP asks for it and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcpMapping {
    /// Chosen by the client.
    pub nonce: Nonce,
    /// The port on which the client listens.
    pub internal_port: u16,
    /// The router's address and port; port 0 and an unspecified address wish for any.
    pub external: SocketAddr,
}

/// A request to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterRequest {
    /// PCP: map a TCP port of `client` for `lifetime` seconds; 0 takes the mapping back.
    PcpMap {
        /// Which mapping.
        mapping: PcpMapping,
        /// The client's address; it is the one that the request comes from.
        client: IpAddr,
        /// In seconds.
        lifetime: u32,
    },
    /// PCP: nothing but an answer with the router's epoch.
    PcpAnnounce {
        /// The client's address.
        client: IpAddr,
    },
    /// NAT-PMP: the external address.
    NatPmpAddress,
    /// NAT-PMP: map a TCP port for `lifetime` seconds; 0 takes the mapping back.
    NatPmpMap {
        /// The port on which the client listens.
        internal_port: u16,
        /// The external port wished for; 0 for any.
        external_port: u16,
        /// In seconds.
        lifetime: u32,
    },
}

impl RouterRequest {
    /// Encodes the request.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::PcpMap { mapping, client, lifetime } => {
                let mut bytes = pcp_head(PCP_MAP, lifetime, client);
                bytes.extend(mapping.nonce);
                bytes.extend([TCP, 0, 0, 0]);
                bytes.extend(mapping.internal_port.to_be_bytes());
                bytes.extend(mapping.external.port().to_be_bytes());
                bytes.extend(mapped(mapping.external.ip()));
                bytes
            }
            Self::PcpAnnounce { client } => pcp_head(PCP_ANNOUNCE, 0, client),
            Self::NatPmpAddress => vec![NAT_PMP, NAT_PMP_ADDRESS],
            Self::NatPmpMap { internal_port, external_port, lifetime } => {
                let mut bytes = vec![NAT_PMP, NAT_PMP_MAP_TCP, 0, 0];
                bytes.extend(internal_port.to_be_bytes());
                bytes.extend(external_port.to_be_bytes());
                bytes.extend(lifetime.to_be_bytes());
                bytes
            }
        }
    }
}

fn pcp_head(opcode: u8, lifetime: u32, client: IpAddr) -> Vec<u8> {
    let mut bytes = vec![PCP, opcode, 0, 0];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend(mapped(client));
    bytes
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A router's answer. A result of 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// PCP: to a request for a mapping.
    PcpMap {
        /// Why not, if it is not 0.
        result: u8,
        /// The router's clock in seconds.
        epoch: u32,
        /// In seconds; of an error: for how long it is of no use to ask again.
        lifetime: u32,
        /// What was asked, with what the router gave.
        mapping: PcpMapping,
    },
    /// PCP: to any other request, or to one that the router did not read.
    PcpOther {
        /// Why not, if it is not 0.
        result: u8,
        /// The router's clock in seconds.
        epoch: u32,
    },
    /// NAT-PMP: the external address.
    NatPmpAddress {
        /// The router's clock in seconds.
        epoch: u32,
        /// The router's address.
        external: Ipv4Addr,
    },
    /// NAT-PMP: a mapping.
    NatPmpMap {
        /// The router's clock in seconds.
        epoch: u32,
        /// The port on which the client listens.
        internal_port: u16,
        /// The router's port.
        external_port: u16,
        /// In seconds.
        lifetime: u32,
    },
    /// NAT-PMP: a refusal, also of a request of PCP.
    NatPmpError {
        /// Which request was refused.
        opcode: u8,
        /// Why; not 0.
        result: u16,
    },
}

/// Says why bytes are not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Too short for what it claims to be, or too long for any.
    #[error("an answer of {0} bytes")]
    Length(usize),
    /// Neither PCP nor NAT-PMP, or not from a server.
    #[error("an answer of an unknown kind")]
    Kind,
    /// The mapping of another protocol than TCP.
    #[error("an answer about another protocol than TCP")]
    Protocol,
}

impl Answer {
    /// Decodes what a router sent.
    ///
    /// # Errors
    /// [`AnswerError`] if it is no answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnswerError> {
        let is_long = |len: usize| match bytes.len() {
            given if given >= len && given <= ANSWER_LEN_MAX => Ok(()),
            given => Err(AnswerError::Length(given)),
        };
        is_long(2)?;
        let (version, opcode) = (bytes[0], bytes[1].checked_sub(OF_SERVER));
        match (version, opcode.ok_or(AnswerError::Kind)?) {
            (PCP, opcode) => {
                is_long(PCP_HEAD_LEN)?;
                let (result, epoch) = (bytes[3], BigEndian::read_u32(&bytes[8..12]));
                // A router may answer an error with the head alone.
                if opcode != PCP_MAP || result != 0 && bytes.len() < PCP_MAP_LEN {
                    return Ok(Self::PcpOther { result, epoch });
                }
                is_long(PCP_MAP_LEN)?;
                if bytes[36] != TCP {
                    return Err(AnswerError::Protocol);
                }
                let mut nonce = Nonce::default();
                nonce.copy_from_slice(&bytes[24..36]);
                let mut ip = [0; 16];
                ip.copy_from_slice(&bytes[44..60]);
                let ip = Ipv6Addr::from(ip).to_canonical();
                let mapping = PcpMapping {
                    nonce,
                    internal_port: BigEndian::read_u16(&bytes[40..42]),
                    external: SocketAddr::new(ip, BigEndian::read_u16(&bytes[42..44])),
                };
                let lifetime = BigEndian::read_u32(&bytes[4..8]);
                Ok(Self::PcpMap { result, epoch, lifetime, mapping })
            }
            (NAT_PMP, opcode) => {
                is_long(4)?;
                let result = BigEndian::read_u16(&bytes[2..4]);
                if result != 0 {
                    return Ok(Self::NatPmpError { opcode, result });
                }
                is_long(12)?;
                let epoch = BigEndian::read_u32(&bytes[4..8]);
                match opcode {
                    NAT_PMP_ADDRESS => Ok(Self::NatPmpAddress {
                        epoch,
                        external: Ipv4Addr::from(BigEndian::read_u32(&bytes[8..12])),
                    }),
                    NAT_PMP_MAP_TCP => {
                        is_long(16)?;
                        Ok(Self::NatPmpMap {
                            epoch,
                            internal_port: BigEndian::read_u16(&bytes[8..10]),
                            external_port: BigEndian::read_u16(&bytes[10..12]),
                            lifetime: BigEndian::read_u32(&bytes[12..16]),
                        })
                    }
                    _ => Err(AnswerError::Kind),
                }
            }
            _ => Err(AnswerError::Kind),
        }
    }
}

/// What a result of PCP means: RFC 6887, section 7.4.
pub fn pcp_result_text(result: u8) -> &'static str {
    match result {
        1 => "it does not know this version of PCP",
        2 => "it does not permit it",
        3 => "it took the request for malformed",
        4 => "it makes no mappings",
        5 | 6 => "it took an option for wrong",
        7 => "it has no connection to the outside",
        8 => "it has no room for another mapping",
        9 => "it does not map TCP",
        10 => "this machine has too many mappings",
        11 => "it cannot give that external address or port",
        12 => "the request came from another address than it says: a router is in between",
        _ => "it refuses, and does not say why",
    }
}

/// What a result of NAT-PMP means: RFC 6886, section 3.5.
pub fn nat_pmp_result_text(result: u16) -> &'static str {
    match result {
        1 => "it does not know this version",
        2 => "it does not permit it",
        3 => "it has no connection to the outside",
        4 => "it has no room for another mapping",
        5 => "it makes no mappings",
        _ => "it refuses, and does not say why",
    }
}

#[cfg(any(test, fuzzing))]
impl Answer {
    /// Encodes the answer as a router would.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let pcp = |opcode: u8, result: u8, lifetime: u32, epoch: u32| {
            let mut bytes = vec![PCP, OF_SERVER + opcode, 0, result];
            bytes.extend(lifetime.to_be_bytes());
            bytes.extend(epoch.to_be_bytes());
            bytes.extend([0; 12]);
            bytes
        };
        let nat_pmp = |opcode: u8, result: u16, epoch: u32| {
            let mut bytes = vec![NAT_PMP, OF_SERVER + opcode];
            bytes.extend(result.to_be_bytes());
            bytes.extend(epoch.to_be_bytes());
            bytes
        };
        match self {
            Self::PcpMap { result, epoch, lifetime, mapping } => {
                let mut bytes = pcp(PCP_MAP, result, lifetime, epoch);
                let asked =
                    RouterRequest::PcpMap { mapping, client: mapping.external.ip(), lifetime };
                bytes.extend(&asked.to_bytes()[PCP_HEAD_LEN..]);
                bytes
            }
            Self::PcpOther { result, epoch } => pcp(PCP_ANNOUNCE, result, 0, epoch),
            Self::NatPmpAddress { epoch, external } => {
                let mut bytes = nat_pmp(NAT_PMP_ADDRESS, 0, epoch);
                bytes.extend(external.octets());
                bytes
            }
            Self::NatPmpMap { epoch, internal_port, external_port, lifetime } => {
                let mut bytes = nat_pmp(NAT_PMP_MAP_TCP, 0, epoch);
                bytes.extend(internal_port.to_be_bytes());
                bytes.extend(external_port.to_be_bytes());
                bytes.extend(lifetime.to_be_bytes());
                bytes
            }
            Self::NatPmpError { opcode, result } => nat_pmp(opcode, result, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> PcpMapping {
        PcpMapping {
            nonce: *b"twelve bytes",
            internal_port: 6001,
            external: "203.0.113.9:7001".parse().unwrap(),
        }
    }

    #[test]
    fn requests_have_the_bytes_of_the_standards() {
        let client = "192.168.1.5".parse().unwrap();
        let map = RouterRequest::PcpMap { mapping: mapping(), client, lifetime: 3600 };
        let mut want = vec![2, 1, 0, 0, 0, 0, 0x0e, 0x10];
        want.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 5]);
        want.extend(b"twelve bytes");
        want.extend([6, 0, 0, 0, 0x17, 0x71, 0x1b, 0x59]);
        want.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 9]);
        assert_eq!(map.to_bytes(), want);
        let client: IpAddr = "2001:db8::5".parse().unwrap();
        let announce = RouterRequest::PcpAnnounce { client }.to_bytes();
        assert_eq!((announce.len(), &announce[..8]), (24, &[2, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(announce[8..12], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(RouterRequest::NatPmpAddress.to_bytes(), [0, 0]);
        let map =
            RouterRequest::NatPmpMap { internal_port: 6001, external_port: 7001, lifetime: 3600 };
        let want = [0, 2, 0, 0, 0x17, 0x71, 0x1b, 0x59, 0, 0, 0x0e, 0x10];
        assert_eq!(map.to_bytes(), want);
    }

    fn answers() -> [Answer; 6] {
        [
            Answer::PcpMap { result: 0, epoch: 9, lifetime: 3600, mapping: mapping() },
            Answer::PcpMap { result: 8, epoch: 9, lifetime: 30, mapping: mapping() },
            Answer::PcpOther { result: 1, epoch: 7 },
            Answer::NatPmpAddress { epoch: 1, external: Ipv4Addr::new(203, 0, 113, 9) },
            Answer::NatPmpMap { epoch: 1, internal_port: 1, external_port: 2, lifetime: 3 },
            Answer::NatPmpError { opcode: 2, result: 3 },
        ]
    }

    #[test]
    fn answers_are_read_whole_and_no_part_of_one_is() {
        for answer in answers() {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            // Options of PCP, and what later routers may add.
            assert_eq!(Answer::decode(&[&bytes[..], &[0; 8]].concat()), Ok(answer));
            for len in 0..bytes.len() {
                let part = Answer::decode(&bytes[..len]);
                let is_of_error = matches!(
                    (answer, part),
                    (Answer::PcpMap { result: 8, .. }, Ok(Answer::PcpOther { result: 8, .. }))
                        | (Answer::NatPmpError { .. }, Ok(Answer::NatPmpError { .. }))
                );
                assert!(part.is_err() || is_of_error, "{len} bytes of {answer:?}: {part:?}");
            }
            let long = [&bytes[..], &[0; ANSWER_LEN_MAX]].concat();
            assert_eq!(Answer::decode(&long), Err(AnswerError::Length(long.len())));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let good = answers()[0].to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Answer::decode(&bytes)
        };
        // A request, another version, UDP.
        assert_eq!(with(1, 1), Err(AnswerError::Kind));
        assert_eq!(with(0, 1), Err(AnswerError::Kind));
        assert_eq!(with(36, 17), Err(AnswerError::Protocol));
        assert_eq!(Answer::decode(&[0, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(AnswerError::Kind));
    }
}
