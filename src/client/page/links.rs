//! Addresses of contents for media elements and downloads, which cannot send a token.
//!
//! **Invariant:** a link opens one path, as long as the token that made it is valid and the link was
//! used within [`LIFETIME`]. Links are in memory alone, at most [`LINKS_MAX`] of at most
//! [`PATH_LEN_MAX`] bytes.

use std::io;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use rand::TryRng as _;
use rand::rngs::SysRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Time after its last use at which a link ends: a video may be paused for long.
const LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// Maximum number of links; a further one replaces the one of its token that was used least
/// recently, or of all tokens if its own has none.
const LINKS_MAX: usize = 256;
/// Maximum length of a path in bytes: two names of 255 bytes, percent-encoded, are shorter.
pub(super) const PATH_LEN_MAX: usize = 4 << 10;

/// Path of a content's link, in front of its id.
pub(super) const CONTENT: &str = "/content/";

/// `POST link`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LinkTo {
    /// The path of a content below the root of the API, as `groups/lab/files/film.mp4/content`.
    #[schemars(regex(pattern = "^groups/.*/content$"))]
    pub(super) path: String,
}

/// What it answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct LinkMade {
    /// The address, relative to the page.
    pub(super) url: String,
}

struct Link {
    id: [u8; 16],
    path: String,
    token_id: String,
    used: Instant,
}

/// The links of one page.
#[derive(Default)]
pub(super) struct Links(Mutex<Vec<Link>>);

impl Links {
    /// Makes a link to a path; returns its id.
    ///
    /// # Errors
    /// The system's, if it gives no random numbers.
    pub(super) fn make(&self, path: &str, token_id: &str, now: Instant) -> io::Result<String> {
        let mut id = [0; 16];
        SysRng.try_fill_bytes(&mut id).map_err(io::Error::other)?;
        let mut links = self.0.lock();
        links.retain(|link| now.duration_since(link.used) < LIFETIME);
        let rank = |at: &usize| (links[*at].token_id != token_id, links[*at].used);
        if links.len() >= LINKS_MAX
            && let Some(oldest) = (0..links.len()).min_by_key(rank)
        {
            links.swap_remove(oldest);
        }
        links.push(Link { id, path: path.to_owned(), token_id: token_id.to_owned(), used: now });
        Ok(HEXLOWER.encode(&id))
    }

    /// The path and the token of a link.
    pub(super) fn open(&self, text: &str, now: Instant) -> Option<(String, String)> {
        let id = HEXLOWER.decode(text.as_bytes()).ok()?;
        let mut links = self.0.lock();
        let link = links.iter_mut().find(|link| link.id[..] == id)?;
        if now.duration_since(link.used) >= LIFETIME {
            return None;
        }
        link.used = now;
        Some((link.path.clone(), link.token_id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_end_when_they_are_not_used_and_are_bounded() {
        let (links, begun) = (Links::default(), Instant::now());
        let id = links.make("a", "t", begun).unwrap();
        let open = |id: &str, at| links.open(id, at).map(|(path, token)| path + &token);
        assert_eq!(open(&id, begun + LIFETIME / 2).as_deref(), Some("at"));
        assert_eq!(open(&id, begun + LIFETIME).as_deref(), Some("at"), "it was used meanwhile");
        assert_eq!(open(&id, begun + LIFETIME * 3), None);
        for bad in ["", "zz", &id[1..], &format!("{id}0"), &"0".repeat(32)] {
            assert_eq!(open(bad, begun), None, "{bad}");
        }
        let later = begun + LIFETIME;
        let other = links.make("c", "other", later).unwrap();
        for _ in 0..LINKS_MAX + 5 {
            links.make("b", "t", later + Duration::from_secs(1)).unwrap();
        }
        assert_eq!(links.0.lock().len(), LINKS_MAX);
        // Those of other tokens stay.
        assert_eq!(open(&other, later).as_deref(), Some("cother"));
        let third = links.make("d", "third", later).unwrap();
        assert_eq!(open(&third, later).as_deref(), Some("dthird"));
        assert_eq!(links.0.lock().len(), LINKS_MAX);
    }
}
