//! The page's routes as an OpenAPI document.

use super::links::{CONTENT, LinkMade, LinkTo};
use super::transmission::{Answer, Asked, PATHS, SESSION_ID};
use crate::client::routes::{ROOT, openapi};
use crate::http::Method;
use crate::http::access::Rights;
use crate::http::openapi::{Guard, Operation};
use crate::http::page::describe as describe_page;

/// The OpenAPI document of the page.
pub(super) fn describe() -> String {
    let text = "The page and the HTTP API of a Posse client. `docs/JSON.md` explains commands, replies \
                and events. Fields and operations are only added: skip those that you do not know.";
    let mut description = openapi::begin(text, Guard::Token);
    describe_page(&mut description);
    let (asked, made) = (description.read::<LinkTo>(), description.written::<LinkMade>());
    let link = Operation::new("link", "Makes an address of a file for programs without a token")
        .needs(Rights::Read)
        .json_body(asked)
        .answers_json(200, "The address.", made);
    description.add(&Method::POST, &format!("{ROOT}link"), link);
    let content = openapi::content(true);
    description.add(&Method::GET, &format!("{CONTENT}{{id}}"), content);
    let (asked, answer) = (description.read::<Asked>(), description.written::<Answer>());
    let text = "send the id that the header of a response with status 409 tells";
    let rpc = Operation::new("transmission", "Transmission's RPC, in its classic dialect")
        .text("docs/TRANSMISSION.md lists methods and fields.")
        .needs(Rights::Read)
        .takes_passwords()
        .header_parameter(SESSION_ID.as_str(), text)
        .json_body(asked)
        .answers_json(200, "The result, also if it is an error.", answer)
        .fails(409, &format!("The header `{SESSION_ID}` is missing or old: {text}."));
    description.add(&Method::POST, PATHS[0], rpc);
    description.finish().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::client::api::{Command, ErrorCode};
    use crate::client::routes::ROUTES;

    /// The routes that the page has beside [`ROUTES`].
    const MORE: [(&str, &str); 7] = [
        ("post", "/transmission/rpc"),
        ("post", "/api/v1/session"),
        ("post", "/api/v1/link"),
        ("get", "/content/{id}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    ];

    fn document() -> Value {
        serde_json::from_str(&describe()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, String, Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, at)| {
            let at = at.as_object().unwrap().iter();
            at.map(|(method, operation)| (method.clone(), path.clone(), operation.clone()))
        });
        all.collect()
    }

    /// The words of a schema that lists words.
    fn words<T: schemars::JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T).to_value();
        let ones = schema["oneOf"].as_array().unwrap().iter();
        let words = ones.flat_map(|one| match (&one["const"], &one["properties"]["command"]) {
            (Value::String(word), _) => vec![word.clone()],
            (_, Value::Object(command)) => vec![command["const"].as_str().unwrap().to_owned()],
            _ => serde_json::from_value(one["enum"].clone()).unwrap(),
        });
        words.collect()
    }

    /// The words in the first column of the table that begins with a line.
    fn documented(first: &str) -> BTreeSet<String> {
        let text = include_str!("../../../docs/JSON.md");
        let (_, table) = text.split_once(first).expect("the table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let described: BTreeSet<(String, String)> =
            operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
        let more = MORE.map(|(method, path)| (method.to_owned(), path.to_owned()));
        let routes = ROUTES.iter().map(|route| {
            let method = route.method.as_str().to_ascii_lowercase();
            (method, format!("{ROOT}{}", route.path))
        });
        assert_eq!(described, routes.chain(more).collect());
    }

    #[test]
    fn an_operation_tells_its_parameters_bodies_answers_and_errors() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations(&document) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{method} {path}: the id is not its own");
            let in_path = operation["parameters"].as_array().into_iter().flatten();
            let in_path: Vec<&str> = in_path
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let braces: Vec<&str> =
                path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            assert_eq!(in_path, braces, "{path}");
            assert_eq!(operation["requestBody"].is_null(), method == "get", "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
            let is_open = operation["security"] == json!([]);
            assert_eq!(is_open, !operation["x-posse-rights"].is_string(), "{method} {path}");
            let is_session = path.ends_with("/session");
            assert_eq!(answers.contains_key("401"), !is_open || is_session, "{method} {path}");
            for status in ["400", "403", "408", "421", "431", "503"] {
                assert!(answers.contains_key(status), "{method} {path}: {status}");
            }
        }
        let command = &document["paths"]["/api/v1/command"]["post"];
        let body = &command["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["$ref"], "#/components/schemas/Command");
        let text = command["responses"]["409"]["description"].as_str().unwrap();
        assert!(text.contains("`refused`") && text.contains("`quota`"), "{text}");
    }

    #[test]
    fn references_lead_to_schemas_and_schemas_are_one() {
        fn check(value: &Value, document: &Value) {
            if let Some(path) = value["$ref"].as_str() {
                assert!(document.pointer(&path[1..]).is_some(), "{path}");
            }
            let of_object = value.as_object().into_iter().flat_map(|object| object.values());
            let of_array = value.as_array().into_iter().flatten();
            of_object.chain(of_array).for_each(|inner| check(inner, document));
        }
        let document = document();
        check(&document, &document);
        // Described one by one: what is read and written has the same schema.
        let mut one = openapi::begin("", Guard::Owner);
        assert_eq!(one.different(), Vec::<String>::new());
    }

    #[test]
    fn codes_and_commands_are_those_of_the_documentation() {
        assert_eq!(words::<ErrorCode>(), documented("| `code` | what happened |"));
        assert_eq!(words::<Command>(), documented("| `command` | words | `reply` and `value` |"));
    }
}
