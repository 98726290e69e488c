//! Numbers as people say them, and sentences that several front ends say.

use std::net::SocketAddr;

/// A number of bytes in decimal units, one digit behind the point.
pub(crate) fn human_bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Says that members report bad data of a file which this device sends.
pub(crate) fn bad_data_text(members: u32, file: &str) -> String {
    let say = if members == 1 { "member says" } else { "members say" };
    format!("{members} {say} that what this device sends of {file} is wrong; is the file changed?")
}

/// Says that members cannot connect to this device.
pub(crate) fn unreachable_text(members: u32, address: SocketAddr) -> String {
    format!(
        "{members} members could not connect to this device at {address}; is a firewall or a router \
         in between?"
    )
}
