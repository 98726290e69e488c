//! A client that is logged in and has a page open, and nothing to do.

use std::net::Shutdown;
use std::time::Duration;

use crate::support::{Network, Result};
use crate::{Options, member};

/// Part of a core that it may take.
const BAR: f64 = 0.01;
/// Time until what its start began is over.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures it.
pub(crate) fn run(network: &Network, options: &Options) -> Result<()> {
    let (reader, page) = member(network, "reader")?;
    let body = page.get("events")?;
    let connection = body.connection()?;
    let thread = std::thread::Builder::new().name("page".into());
    let thread = thread.spawn(move || body.read_until_closed())?;
    std::thread::sleep(SETTLE);
    let before = reader.usage();
    std::thread::sleep(Duration::from_secs(options.seconds));
    let cpu = reader.usage().since(before).cpu.as_secs_f64() / options.seconds as f64;
    println!(
        "with a page open: {:.2} % of a core over {} s (bar: {:.0} %)",
        cpu * 100.0,
        options.seconds,
        BAR * 100.0
    );
    connection.shutdown(Shutdown::Both)?;
    // It has read the snapshot, at least.
    if thread.join().unwrap_or(0) == 0 {
        return Err("the page read nothing".into());
    }
    reader.leave()
}
