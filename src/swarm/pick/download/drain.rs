//! Lets a link run dry, before another one to the same device takes its place.
//!
//! **Invariant:** what was asked of the link still comes, and is not asked anywhere else for that.

use std::time::Duration;

use super::Download;
use super::values::LinkKey;

impl Download {
    /// Asks for no other piece on a link before that time.
    pub fn hold_link(&mut self, link: LinkKey, until: Duration) {
        if let Some(state) = self.links.get_mut(link) {
            state.resume_at = state.resume_at.max(until);
        }
    }

    /// Tells whether nothing is due on a link.
    pub fn is_link_idle(&self, link: LinkKey) -> bool {
        self.links.get(link).is_none_or(|state| state.chunks.is_empty())
    }
}
