//! Describes an HTTP API as an OpenAPI 3.1 document.
//!
//! **Invariant:** the schemas of bodies come from the types that the program reads and writes, so
//! they cannot differ from it. The code that describes a route lists its statuses.
//!
//! A program makes a [`Description`], adds an [`Operation`] for each of its routes, and serves the
//! finished document.

mod operation;

use std::collections::BTreeMap;

use http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use operation::Operation;

use super::access::Rights;

/// The version of OpenAPI.
const OPENAPI: &str = "3.1.0";
/// Where the schemas are in the document.
const SCHEMAS: &str = "/components/schemas";
/// The media type of most bodies.
const JSON: &str = "application/json";

/// Who may use the described API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Everyone who can connect: the owner of a socket.
    Owner,
    /// Those who show a token, where an operation needs one.
    Token,
}

/// A document that is being put together.
pub struct Description {
    info: Value,
    guard: Guard,
    /// Makes the schemas of what the program reads.
    requests: SchemaGenerator,
    /// Makes the schemas of what the program writes.
    responses: SchemaGenerator,
    failure: Value,
    paths: BTreeMap<String, Map<String, Value>>,
}

impl Description {
    /// Begins a description. `Failure` is the body of every error.
    pub fn new<Failure: JsonSchema>(title: &str, text: &str, guard: Guard) -> Self {
        let info = json!({
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": text,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        });
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = SCHEMAS.into());
        let requests = settings.clone().for_deserialize().into_generator();
        let mut responses = settings.for_serialize().into_generator();
        let failure = responses.subschema_for::<Failure>().to_value();
        Self { info, guard, requests, responses, failure, paths: BTreeMap::new() }
    }

    /// The schema of a value that the program reads.
    pub fn read<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// The schema of a value that the program writes.
    pub fn written<T: JsonSchema>(&mut self) -> Value {
        self.responses.subschema_for::<T>().to_value()
    }

    /// Adds an operation at a path, with the statuses that every operation has.
    pub fn add(&mut self, method: &Method, path: &str, operation: Operation) {
        let value = self.finish_operation(operation);
        let at = self.paths.entry(path.to_owned()).or_default();
        at.insert(method.as_str().to_ascii_lowercase(), value);
    }

    fn finish_operation(&self, operation: Operation) -> Value {
        let mut operation = operation
            .fails(400, "The request is not valid.")
            .fails(408, "The request did not arrive in time.")
            .fails(431, "The head of the request is too long.")
            .fails(503, "There are too many connections; then the response has no body.");
        let mut security = json!([]);
        if self.guard == Guard::Token {
            operation = operation
                .fails(403, "`not_allowed`: another site's script sent the request.")
                .fails(421, "`not_allowed`: the page is not served at the address in `Host`.");
            if let Some(rights) = operation.rights() {
                let text = match rights {
                    Rights::Read => "a token",
                    Rights::Manage => "a token that may manage",
                };
                security =
                    operation.schemes().iter().map(|scheme| json!({ *scheme: [] })).collect();
                operation = operation
                    .fails(401, &format!("`no_token`: the operation needs {text}."))
                    .fails(403, "`not_allowed`: the token may not do that.");
            }
        }
        let mut value = operation.finish(&self.failure);
        if self.guard == Guard::Token {
            value["security"] = security;
        }
        value
    }

    /// Types whose schema for reading differs from the one for writing. A document can hold only
    /// one of them.
    #[cfg(test)]
    pub(crate) fn different(&mut self) -> Vec<String> {
        let read = self.requests.take_definitions(true);
        let written = self.responses.take_definitions(true);
        let is_other = |(name, schema): &(String, Value)| {
            written.get(name).is_some_and(|written| written != schema)
        };
        read.into_iter().filter(is_other).map(|(name, _)| name).collect()
    }

    /// The document.
    pub fn finish(mut self) -> Value {
        let mut schemas = self.requests.take_definitions(true);
        for (name, schema) in self.responses.take_definitions(true) {
            // A type that is read and written has one form: tests ask `different`.
            schemas.entry(name).or_insert(schema);
        }
        let mut document = json!({
            "openapi": OPENAPI,
            "info": self.info,
            "servers": [{ "url": "/" }],
            "paths": self.paths,
            "components": { "schemas": schemas },
        });
        if self.guard == Guard::Token {
            document["components"]["securitySchemes"] = json!({
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that `create_token` has made, or that a page has got for its code.",
                },
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A token as the password of any user name.",
                },
            });
        }
        document
    }
}
