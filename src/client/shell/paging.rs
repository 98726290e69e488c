//! Fetches listings page by page.
//!
//! Each page blocks the caller on the client.

use crate::client::api::{Api, ApiError, Command, Listing, Page, Reply};
use crate::net::Stop;

/// The entries of each page of a listing, up to the first error.
pub(super) fn pages<'a, T: 'a>(
    api: &'a dyn Api,
    stop: Stop,
    command: impl Fn(Listing) -> Command + 'a,
    take: fn(Reply) -> Result<Page<T>, ApiError>,
) -> impl Iterator<Item = Result<Vec<T>, ApiError>> + 'a {
    let mut next = Some(Listing::default());
    std::iter::from_fn(move || {
        let listing = next.take()?;
        let page = api.call(command(listing), &stop, &mut |_| true).and_then(take);
        Some(page.map(|page| {
            let after = page.next.filter(|_| page.more);
            next = after.map(|after| Listing { after: Some(after), limit: None });
            page.entries
        }))
    })
}

/// All entries of a listing.
///
/// # Errors
/// That of the first page that cannot be had.
pub(super) fn all<T>(
    api: &dyn Api,
    stop: &Stop,
    command: impl Fn(Listing) -> Command,
    take: fn(Reply) -> Result<Page<T>, ApiError>,
) -> Result<Vec<T>, ApiError> {
    let pages: Result<Vec<Vec<T>>, ApiError> = pages(api, stop.clone(), command, take).collect();
    Ok(pages?.into_iter().flatten().collect())
}
