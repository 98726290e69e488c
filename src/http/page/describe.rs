//! The routes that every page has, for its OpenAPI document.

use serde_json::json;

use super::API_ROOT;
use super::server::{Begun, Traded};
use crate::http::Method;
use crate::http::access::Rights;
use crate::http::openapi::{Description, Operation};

/// Adds the routes that every page has.
pub fn describe(description: &mut Description) {
    let (code, begun) = (description.read::<Traded>(), description.written::<Begun>());
    let session = Operation::new("session", "Trades the code of a link for a token")
        .text("A code opens one time, within 10 minutes.")
        .json_body(code)
        .answers_json(200, "The token, which is told once.", begun)
        .fails(401, "`no_token`: the code was used already, or is too old.")
        .fails(500, "`failed`: the token could not be written down.");
    description.add(&Method::POST, &format!("{API_ROOT}session"), session);
    let line = [("text/plain", json!({ "type": "string" }))];
    let health =
        Operation::new("healthz", "Whether the program runs").answers(200, "It does.", &line);
    description.add(&Method::GET, "/healthz", health);
    let ready = Operation::new("readyz", "Whether the program serves")
        .answers(200, "It does.", &line)
        .answers(503, "It does not, and why.", &line);
    description.add(&Method::GET, "/readyz", ready);
    let metrics = [("application/openmetrics-text", json!({ "type": "string" }))];
    let metrics = Operation::new("metrics", "Metrics").needs(Rights::Read).answers(
        200,
        "Metrics in OpenMetrics' text format.",
        &metrics,
    );
    description.add(&Method::GET, "/metrics", metrics);
}
