//! The commands about the page and the tokens of the HTTP API.

use super::answer::Answer;
use super::render::{date, to_value};
use super::session::Shell;
use super::table::Flags;
use crate::client::api::{ApiError, Command, TokenEntry};
use crate::http::access::Rights;

impl Shell {
    /// Carries out `page`.
    pub(super) fn page(&self) -> Result<Answer, ApiError> {
        self.page_at("")
    }

    /// A link that opens the page; `more` goes behind its code.
    pub(super) fn page_at(&self, more: &str) -> Result<Answer, ApiError> {
        let mut link = self.call(Command::Page { until_ms: None })?.link()?;
        link.url.push_str(more);
        let minutes = link.valid_ms / 60_000;
        let rows = vec![
            vec![link.url.clone()],
            vec![format!("opens the page in a browser, one time, within {minutes} minutes")],
        ];
        Ok(Answer::rows(rows, "").with("url", link.url).with("valid_ms", link.valid_ms))
    }

    /// Carries out `tokens`.
    pub(super) fn tokens(&self) -> Result<Answer, ApiError> {
        let tokens = self.call(Command::Tokens)?.tokens()?;
        let rows = tokens.iter().map(row).collect();
        Ok(Answer::rows(rows, "no tokens")
            .with("tokens", tokens.iter().map(to_value).collect::<Vec<_>>()))
    }

    /// Carries out `create_token`.
    pub(super) fn create_token(&self, name: &str, flags: &Flags) -> Result<Answer, ApiError> {
        let rights = match flags.value("--rights") {
            None | Some("read") => Rights::Read,
            Some(_) => Rights::Manage,
        };
        let days = flags.value("--days").map(parse_days).transpose()?;
        let command = Command::CreateToken { name: name.to_owned(), rights, days, until_ms: None };
        let new = self.call(command)?.token()?;
        let rows =
            vec![vec![new.token.clone()], vec!["keep it now: it is not shown again".to_owned()]];
        Ok(Answer::rows(rows, "").with_all(&new))
    }

    /// Carries out `revoke_token`.
    pub(super) fn revoke_token(&self, token: &str) -> Result<Answer, ApiError> {
        self.call(Command::RevokeToken { token: token.to_owned() })?;
        Ok(Answer::line(format!("revoked the token {token}")).with("token", token))
    }
}

fn parse_days(text: &str) -> Result<u32, ApiError> {
    let days = text.parse().ok().filter(|days| *days > 0);
    days.ok_or_else(|| ApiError::bad_argument(format!("{text:?} is no number of days")))
}

fn row(token: &TokenEntry) -> Vec<String> {
    let rights = match token.rights {
        Rights::Read => "read",
        Rights::Manage => "manage",
    };
    let end = token.expires_ms.map_or("does not end".to_owned(), |at| format!("ends {}", date(at)));
    let used = match token.last_used_ms {
        Some(at) => format!("last used {}", date(at)),
        None => "not used".to_owned(),
    };
    vec![token.token_id.clone(), token.name.clone(), rights.to_owned(), end, used]
}
