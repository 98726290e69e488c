//! The operator's page as an OpenAPI document.

use super::{Answer, Asked};
use crate::http::Method;
use crate::http::access::Rights;
use crate::http::openapi::{Description, Guard, Operation};
use crate::http::page::{API_ROOT, Failure, describe as describe_page};

/// The OpenAPI document of the page.
pub(super) fn describe() -> String {
    let text = "The operator's page of a Posse tracker. `docs/OPERATING.md` explains the commands.";
    let mut description = Description::new::<Failure>("Posse tracker", text, Guard::Token);
    describe_page(&mut description);
    let document = Operation::new("openapi", "This document").needs(Rights::Read).answers_json(
        200,
        "An OpenAPI 3.1 document.",
        serde_json::json!({ "type": "object", "required": ["openapi", "paths"] }),
    );
    description.add(&Method::GET, &format!("{API_ROOT}openapi.json"), document);
    let (asked, answer) = (description.read::<Asked>(), description.written::<Answer>());
    let admin = Operation::new("admin", "Carries out one command of the operator")
        .text("Commands that look need a token that may read, all others one that may manage.")
        .needs(Rights::Read)
        .json_body(asked)
        .answers_json(200, "It was carried out.", answer)
        .fails(400, "`bad_argument`: the command is not understood.")
        .fails(409, "`refused`: the directory will not, or `--yes` is missing.")
        .fails(500, "`failed`: the command names something that is not there, or something failed.")
        .fails(503, "`no_answer`: it is not known whether it was carried out.");
    description.add(&Method::POST, &format!("{API_ROOT}admin"), admin);
    description.finish().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_route_is_described_with_the_documented_codes() {
        let document: Value = serde_json::from_str(&describe()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, at)| {
                at.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        let routes = [
            "post /api/v1/session",
            "post /api/v1/admin",
            "get /api/v1/openapi.json",
            "get /healthz",
            "get /readyz",
            "get /metrics",
        ];
        assert_eq!(described, routes.map(str::to_owned).into());
        let admin = &paths["/api/v1/admin"]["post"];
        for status in ["200", "400", "401", "403", "409", "413", "500", "503"] {
            assert!(admin["responses"][status].is_object(), "{status}");
        }
        let codes = document["components"]["schemas"]["Code"]["oneOf"].as_array();
        let documented = include_str!("../../../docs/JSON.md");
        for code in codes.unwrap() {
            let code = code["const"].as_str().unwrap();
            assert!(documented.contains(&format!("| `{code}`")), "{code} is not documented");
        }
    }
}
