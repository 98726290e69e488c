//! The commands about the operator's page and its tokens.

use serde_json::json;

use super::asking::done;
use super::{AdminError, Line, Sink};
use crate::http::access::{Access, Rights, TokenError};
use crate::tracker::audit_entry::to_rfc3339;
use crate::tracker::shared::Shared;

fn access(shared: &Shared) -> Result<&Access, AdminError> {
    let text = "this tracker serves no page; start it with --page 127.0.0.1:8490";
    shared.access.as_deref().ok_or_else(|| AdminError::Failed(text.to_owned()))
}

fn failed(error: TokenError) -> AdminError {
    AdminError::Failed(error.to_string())
}

pub(super) fn link(
    shared: &Shared,
    until_ms: Option<u64>,
    out: Sink<'_>,
) -> Result<(), AdminError> {
    let link =
        access(shared)?.link(until_ms).map_err(|error| AdminError::Failed(error.to_string()))?;
    let url = link.ok_or(AdminError::Ended)?;
    let text = format!("{url}\nopens the page in a browser, one time, within 10 minutes");
    done(out, text, json!({ "url": url }))
}

pub(super) fn list(shared: &Shared, out: Sink<'_>) -> Result<(), AdminError> {
    for token in access(shared)?.tokens.list() {
        let rights = if token.rights == Rights::Manage { "manage" } else { "read" };
        let at = |at: Option<u64>, none: &str| at.map_or_else(|| none.to_owned(), to_rfc3339);
        let text = format!(
            "{} {}: {rights}, ends {}, last used {}",
            token.token_id,
            token.name,
            at(token.expires_ms, "never"),
            at(token.last_used_ms, "never")
        );
        out(Line::new(text, json!(token)))?;
    }
    Ok(())
}

pub(super) fn create(
    shared: &Shared,
    name: &str,
    rights: Rights,
    (days, until_ms): (Option<u32>, Option<u64>),
    out: Sink<'_>,
) -> Result<(), AdminError> {
    let new = access(shared)?.tokens.create(name, rights, days, until_ms).map_err(failed)?;
    let mut value = json!(new.entry);
    value["token"] = json!(new.secret);
    done(out, format!("{}\nkeep it now: it is not shown again", new.secret), value)
}

pub(super) fn revoke(shared: &Shared, token: &str, out: Sink<'_>) -> Result<(), AdminError> {
    access(shared)?.tokens.revoke(token).map_err(failed)?;
    done(out, format!("revoked the token {token}"), json!({ "token": token }))
}
