//! The limits, each with its reason. Hostile input meets them before memory is allocated.

use std::time::Duration;

/// Bytes in a user, group or device name: fits a column and a log line.
pub const NAME_LEN_MAX: usize = 64;
/// Devices of one account that may log in by their key: more than anybody has.
pub const DEVICES_PER_USER_MAX: usize = 32;
/// Devices in one list: those that may log in by their key, and those that are logged in.
pub const DEVICES_PER_LIST_MAX: usize = 64;
/// Invitations of one account that may be used: more than anybody keeps track of.
pub const INVITATIONS_PER_USER_MAX: usize = 200;
/// Invitations of one account that are kept, revoked ones too: 22 a day.
pub const INVITATIONS_KEPT_MAX: usize = 2_000;
/// Users whom one invitation lets in.
pub const INVITATION_USES_MAX: u32 = 1_000;
/// Days for which an invitation may be used: fewer than rows are kept.
pub const INVITATION_DAYS_MAX: u32 = 60;
/// Bytes in a file name: the limit of one path component on common file systems.
pub const FILE_NAME_LEN_MAX: usize = 255;
/// Bytes in a displayed name: a file name and `~` with a number behind it.
pub const LABEL_LEN_MAX: usize = FILE_NAME_LEN_MAX + 11;
/// Bytes in a password: long enough for any pass phrase, short enough that hashing it costs nothing
/// extra.
pub const PASSWORD_LEN_MAX: usize = 1024;
/// Bytes in a password hash in PHC form: Argon2id's are about 100.
pub const PASSWORD_HASH_LEN_MAX: usize = 512;

/// Bytes in one tracker frame's body.
pub const TRACKER_FRAME_LEN_MAX: usize = 4 << 20;
/// Bytes in one tracker frame's body from a client: the longest announce takes 600 KiB, and
/// everything else is far shorter.
pub const TRACKER_REQUEST_LEN_MAX: usize = 1 << 20;
/// Bytes in one tracker frame's body before login: a stranger makes nobody allocate more.
pub const TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN: usize = 64 << 10;
/// Bytes in one peer message: a 512 KiB block with room to spare, or the bitfield of 2^21 pieces.
pub const PEER_MESSAGE_LEN_MAX: usize = 1 << 20;
/// Bytes in an info dictionary.
pub const INFO_DICTIONARY_LEN_MAX: usize = 100 << 20;
/// Bytes of the info dictionary in one extension message (BEP 9).
pub const METADATA_PART_LEN: usize = 16 << 10;

/// Bytes in a piece of every file up to 1 TiB.
pub const PIECE_LEN: u32 = 512 << 10;
/// Bytes in the largest piece: bounds the memory of one chunk job.
pub const PIECE_LEN_MAX: u32 = 64 << 20;
/// Pieces in one file: keeps the info dictionary (20 bytes a piece) and the bitfield bounded.
pub const PIECE_COUNT_MAX: u64 = 1 << 21;
/// Bytes in the smallest unit a block is made of, and in a request to a foreign client (BEP 3).
pub const BLOCK_LEN: u32 = 16 << 10;
/// Bytes in the largest block that one of our own clients asks another for.
pub const BLOCK_LEN_MAX: u32 = PIECE_LEN;

/// Time for a handshake or a first frame, whole message.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for any later message to arrive whole once its first byte has: 4 MiB at 1 Mbit/s is 34 s.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence after which a client's presence ends.
pub const PRESENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// How often an idle session sends a ping: three may be lost before presence ends.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Time a peer tracker has to acknowledge a batch before its link counts as down.
pub const REPLICATION_ACK_TIMEOUT: Duration = Duration::from_secs(1);
/// How far two trackers' clocks may be apart without harm to what rests on real time: tickets and
/// revocations.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);

/// How long a session token is good for; it is renewed at half of that.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a membership ticket is good for: the longest that somebody removed while all trackers
/// are down keeps what they had.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(600);
/// Groups for which one request asks tickets.
pub const TICKETS_PER_REQUEST_MAX: usize = 1024;

/// Connections to one tracker.
pub const TRACKER_CONNECTIONS_MAX: usize = 12_000;
/// Connections to one tracker from one address that have not logged in.
pub const TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN: usize = 64;
/// Links of one client: others may dial three in four of them, which is more than two hundred.
pub const CLIENT_CONNECTIONS_MAX: usize = 288;
/// Bytes asked for and not yet received, over all links of a client.
pub const WINDOW_SUM_MAX: usize = 64 << 20;

/// Files that one user shares in one group, unless the operator sets another quota.
pub const SHARES_PER_MEMBER_MAX: usize = 50_000;
/// Rows in one replication frame, besides the frame's own length limit.
pub const ROWS_PER_BATCH_MAX: usize = 4_096;
/// Rows that one request writes: a replaced file writes four, and one more tells of the request.
pub const ROWS_PER_REQUEST_MAX: usize = 8;
/// Bytes in one row as sent: the longest holds a file's name, or a password hash.
pub const ROW_LEN_MAX: usize = 8 << 10;
/// Stores in a version vector. A store that is forgotten costs time when its rows are sent again.
pub const STORES_MAX: usize = 256;
/// Earlier ids of a store that it tells the others.
pub const ANCESTORS_MAX: usize = 64;
/// Bytes in the note about a request that the audit keeps.
pub const NOTE_LEN_MAX: usize = 1024;
/// How far a request's own time may be from a tracker's clock.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// How long tombstones and requests are kept: a tracker that was away longer must start anew.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);
/// Entries in one announce frame; a client with more shares sends several.
pub const ANNOUNCE_ENTRIES_MAX: usize = 16_384;
/// Entries in one page of a listing.
pub const PAGE_ENTRIES_MAX: usize = 4_096;
/// Peers named in one answer or event: more than a client will link to.
pub const PEERS_PER_ANSWER_MAX: usize = 200;
/// Addresses that one device offers: several interfaces of two families, and those that trackers
/// and routers tell.
pub const CANDIDATES_MAX: usize = 16;
/// Trackers in `tracker_info.txt`.
pub const TRACKERS_MAX: usize = 64;
