//! The page's options on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::client::ClientError;
use crate::client::page::DEFAULT_ADDRESS;
use crate::client::setup::{PageListen, PageSetup};
use crate::http::page::PageConfig;

/// The page's options.
#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// Where the page and the HTTP API listen, or off [default: 127.0.0.1:8480 with --service, else
    /// off]
    #[arg(long, value_name = "IP:PORT", value_parser = parse_listen)]
    page: Option<PageListen>,
    /// The page's certificates as a PEM file: needed where the page is not on loopback
    #[arg(long, value_name = "FILE", requires = "page_key")]
    page_cert: Option<PathBuf>,
    /// The certificate's private key as a PEM file
    #[arg(long, value_name = "FILE", requires = "page_cert")]
    page_key: Option<PathBuf>,
    /// The page's address at a reverse proxy: scheme, host and path; may be repeated
    #[arg(long, value_name = "URL")]
    page_origin: Vec<String>,
    /// A directory in which the page may read and write; may be repeated [default: your home
    /// directory]
    #[arg(long, value_name = "DIR")]
    page_directory: Vec<PathBuf>,
}

impl PageArguments {
    /// Replaces the options of the last start by those that were given.
    pub(super) fn apply(&self, setup: &mut PageSetup) -> Result<(), ClientError> {
        if let Some(listen) = self.page {
            setup.listen = listen;
        }
        // The next start may begin in another directory.
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|e| ClientError::path(path, e.to_string()))
        };
        if let (Some(cert), Some(key)) = (&self.page_cert, &self.page_key) {
            setup.cert = Some(absolute(cert)?);
            setup.key = Some(absolute(key)?);
        }
        if !self.page_origin.is_empty() {
            setup.origins.clone_from(&self.page_origin);
        }
        if !self.page_directory.is_empty() {
            setup.directories =
                self.page_directory.iter().map(absolute).collect::<Result<_, _>>()?;
        }
        Ok(())
    }
}

/// How a client serves its page, and the directories that it may use; `None` if it serves none.
pub(super) fn to_config(setup: &PageSetup, is_service: bool) -> Option<(PageConfig, Vec<PathBuf>)> {
    let (listen, takes_any_port) = match setup.listen {
        PageListen::Off => return None,
        PageListen::Usual if !is_service => return None,
        PageListen::Usual => (DEFAULT_ADDRESS, true),
        PageListen::At(address) => (address, false),
    };
    let home = || directories::UserDirs::new().map(|dirs| dirs.home_dir().to_owned());
    let directories = match &setup.directories[..] {
        [] => home().into_iter().filter(|home| home.is_dir()).collect(),
        named => named.to_vec(),
    };
    let config = PageConfig {
        listen,
        takes_any_port,
        tls: setup.cert.clone().zip(setup.key.clone()),
        origins: setup.origins.clone(),
    };
    Some((config, directories))
}

fn parse_listen(text: &str) -> Result<PageListen, String> {
    if text == "off" {
        return Ok(PageListen::Off);
    }
    let address = text.parse::<SocketAddr>().map_err(|_| {
        format!("{text:?} is not an address; give <ip:port>, as {DEFAULT_ADDRESS}, or off")
    })?;
    Ok(PageListen::At(address))
}
