//! One operation of a description: a method at a path.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::JSON;
use crate::http::access::Rights;

/// What one method does at one path.
#[derive(Debug)]
pub struct Operation {
    id: &'static str,
    summary: &'static str,
    text: Option<&'static str>,
    rights: Option<Rights>,
    takes_passwords: bool,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    /// The reasons of each status that tells an error.
    failures: BTreeMap<u16, Vec<String>>,
}

impl Operation {
    /// An operation that needs no token.
    pub fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            text: None,
            rights: None,
            takes_passwords: false,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Explains it.
    #[must_use]
    pub fn text(mut self, text: &'static str) -> Self {
        self.text = Some(text);
        self
    }

    /// The rights that a caller needs, where tokens are needed.
    #[must_use]
    pub fn needs(mut self, rights: Rights) -> Self {
        self.rights = Some(rights);
        self
    }

    /// The token may also be the password of HTTP's basic authentication.
    #[must_use]
    pub fn takes_passwords(mut self) -> Self {
        self.takes_passwords = true;
        self
    }

    /// The names of the schemes by which a token is shown.
    pub(super) fn schemes(&self) -> &'static [&'static str] {
        if self.takes_passwords { &["token", "password"] } else { &["token"] }
    }

    pub(super) fn rights(&self) -> Option<Rights> {
        self.rights
    }

    /// A part of the path.
    #[must_use]
    pub fn path_parameter(self, name: &str, text: &str) -> Self {
        self.parameter(name, "path", true, text, json!({ "type": "string", "minLength": 1 }))
    }

    /// A word of the query.
    #[must_use]
    pub fn query_parameter(self, name: &str, is_required: bool, text: &str) -> Self {
        let schema = match is_required {
            true => json!({ "type": "string", "minLength": 1 }),
            false => json!({ "type": "string" }),
        };
        self.parameter(name, "query", is_required, text, schema)
    }

    /// A header of the request that may be left out.
    #[must_use]
    pub fn header_parameter(self, name: &str, text: &str) -> Self {
        self.parameter(name, "header", false, text, json!({ "type": "string" }))
    }

    /// A parameter with a schema.
    #[must_use]
    pub fn parameter(
        mut self,
        name: &str,
        place: &str,
        is_required: bool,
        text: &str,
        schema: Value,
    ) -> Self {
        self.parameters.push(json!({
            "name": name,
            "in": place,
            "required": is_required,
            "description": text,
            "schema": schema,
        }));
        self
    }

    /// The body of the request as JSON.
    #[must_use]
    pub fn json_body(self, schema: Value) -> Self {
        self.body(JSON, schema).fails(413, "The body is too long.")
    }

    /// The body of the request.
    #[must_use]
    pub fn body(mut self, media_type: &str, schema: Value) -> Self {
        let content = json!({ media_type: { "schema": schema } });
        self.body = Some(json!({ "required": true, "content": content }));
        self
    }

    /// A response as JSON.
    #[must_use]
    pub fn answers_json(self, status: u16, text: &str, schema: Value) -> Self {
        self.answers(status, text, &[(JSON, schema)])
    }

    /// A response in one of several media types.
    #[must_use]
    pub fn answers(mut self, status: u16, text: &str, bodies: &[(&str, Value)]) -> Self {
        let mut answer = json!({ "description": text });
        for (media_type, schema) in bodies {
            answer["content"][*media_type] = json!({ "schema": schema });
        }
        self.answers.insert(status, answer);
        self
    }

    /// A header of a response that was added before.
    #[must_use]
    pub fn with_header(mut self, status: u16, name: &str, text: &str) -> Self {
        if let Some(answer) = self.answers.get_mut(&status) {
            answer["headers"][name] =
                json!({ "description": text, "required": true, "schema": { "type": "string" } });
        }
        self
    }

    /// An error, with a reason. A status may have several reasons.
    #[must_use]
    pub fn fails(mut self, status: u16, why: &str) -> Self {
        let reasons = self.failures.entry(status).or_default();
        if !reasons.iter().any(|reason| reason == why) {
            reasons.push(why.to_owned());
        }
        self
    }

    /// The operation as JSON; errors have bodies of this schema.
    pub(super) fn finish(self, failure: &Value) -> Value {
        let mut answers = self.answers;
        for (status, reasons) in self.failures {
            let mut content = json!({ JSON: { "schema": failure } });
            // Heads that are not HTTP are refused before a route is known.
            if matches!(status, 400 | 408 | 431) {
                content["text/plain"] = json!({ "schema": { "type": "string" } });
            }
            let answer = answers.entry(status).or_insert_with(|| json!({ "description": "" }));
            let before = answer["description"].as_str().unwrap_or_default();
            let text = std::iter::once(before).chain(reasons.iter().map(String::as_str));
            answer["description"] =
                text.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ").into();
            if answer["content"].is_null() {
                answer["content"] = content;
            }
            if status == 401 {
                answer["headers"]["WWW-Authenticate"] =
                    json!({ "required": true, "schema": { "type": "string" } });
            }
        }
        let answers: BTreeMap<String, Value> =
            answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        let mut value = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": answers,
        });
        if let Some(text) = self.text {
            value["description"] = text.into();
        }
        if !self.parameters.is_empty() {
            value["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            value["requestBody"] = body;
        }
        if let Some(rights) = self.rights {
            value["x-posse-rights"] = json!(rights);
        }
        value
    }
}
