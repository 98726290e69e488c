//! Why a router forwards nothing.

use std::io;
use std::net::IpAddr;

/// Longest text of a router, in characters.
const TEXT_MAX: usize = 120;

/// Why a router forwards nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouterError {
    /// No answer came in time.
    #[error("no answer")]
    Silent,
    /// The router has no such service.
    #[error("the router does not offer it")]
    NotOffered,
    /// Nothing listens at the router's port.
    #[error("the router does not offer it: its port is closed")]
    Closed,
    /// The router said no.
    #[error("the router refuses: {0}")]
    Refused(String),
    /// What the router gives is of no use.
    #[error("the router says that its external address is {0}, where nobody can reach it")]
    Unusable(IpAddr),
    /// A request over HTTP would go to a proxy instead of the router.
    #[error("the environment names an HTTP proxy; add {0} to no_proxy")]
    Proxy(IpAddr),
    /// The system's.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The client ends, or its user has logged out.
    #[error("given up, as the session ends")]
    Over,
}

impl RouterError {
    /// A router's refusal in its own words, shortened.
    pub(super) fn refused(why: impl ToString) -> Self {
        let why = why.to_string();
        let end = why.char_indices().nth(TEXT_MAX).map_or(why.len(), |(at, _)| at);
        Self::Refused(why[..end].trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_router_are_bounded() {
        let text = RouterError::refused("é".repeat(10_000)).to_string();
        assert!(text.chars().count() < 200, "{text}");
        assert_eq!(RouterError::refused("busy").to_string(), "the router refuses: busy");
    }
}
