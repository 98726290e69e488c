//! A download that is read over HTTP at the client's control socket while it comes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::network::PATIENCE;
use crate::support::{Network, Result};

/// Bytes read at a time.
const PART_LEN: usize = 512 << 10;

/// The control socket of a user's client.
pub(crate) fn socket_of(network: &Network, user: &str) -> PathBuf {
    network.dir().join(format!("client-{user}")).join("control.sock")
}

/// Reads the whole of a file that is being downloaded; returns when its last byte came.
pub(crate) fn read(socket: &Path, group: &str, file: &str, len: u64) -> Result<Instant> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let target = format!("/api/v1/groups/{group}/files/{file}/content");
    let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let (mut part, mut filled) = (vec![0; PART_LEN], 0);
    let body = loop {
        let count = stream.read(&mut part[filled..])?;
        filled += count;
        if let Some(end) = part[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if count == 0 {
            return Err("the response has no head".into());
        }
    };
    let head = String::from_utf8_lossy(&part[..body]);
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("the content is not served: {head}").into());
    }
    let mut read = (filled - body) as u64;
    while read < len {
        match stream.read(&mut part)? {
            0 => return Err(format!("the content ends after {read} bytes of {len}").into()),
            count => read += count as u64,
        }
    }
    Ok(Instant::now())
}
