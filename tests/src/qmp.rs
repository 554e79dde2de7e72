//! QEMU's control protocol, as far as it is needed here: one JSON object per line, both ways.

use serde_json::{Value, json};

/// What QEMU says.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The answer to the request with this number.
    Answer {
        /// The request's number.
        id: u64,
        /// What it returned, or why it failed.
        result: Result<Value, String>,
    },
    /// Something happened.
    Event {
        /// The event's name, in capitals.
        name: String,
        /// Why, for those events that have a reason.
        reason: Option<String>,
    },
    /// The greeting, and whatever else there may be.
    Other,
}

/// A request as a line to send.
#[must_use]
pub fn request(id: u64, name: &str, arguments: &Value) -> String {
    format!(
        "{}\n",
        json!({ "execute": name, "arguments": arguments, "id": id })
    )
}

/// The requests to send before QEMU even runs: leave negotiation, and stop the machine where it shuts down or resets,
/// so that its CPUs can still be asked where they were.
#[must_use]
pub fn opening() -> String {
    request(0, "qmp_capabilities", &json!({}))
        + &request(0, "set-action", &json!({ "shutdown": "pause" }))
}

/// Reads one line.
#[must_use]
pub fn parse(line: &str) -> Message {
    let Ok(message) = serde_json::from_str::<Value>(line) else {
        return Message::Other;
    };
    if let Some(id) = message["id"].as_u64() {
        let result = match message.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(message["error"]["desc"]
                .as_str()
                .unwrap_or("no reason given")
                .to_owned()),
        };
        return Message::Answer { id, result };
    }
    match message["event"].as_str() {
        Some(name) => Message::Event {
            name: name.to_owned(),
            reason: message["data"]["reason"].as_str().map(str::to_owned),
        },
        None => Message::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(
            parse(r#"{"QMP": {"version": {}, "capabilities": []}}"#),
            Message::Other
        );
        assert_eq!(parse("not json"), Message::Other);
        let answer = parse(r#"{"return": "RIP=1", "id": 7}"#);
        assert_eq!(
            answer,
            Message::Answer {
                id: 7,
                result: Ok(json!("RIP=1"))
            }
        );
        let error = parse(r#"{"id": 8, "error": {"class": "GenericError", "desc": "no"}}"#);
        assert_eq!(
            error,
            Message::Answer {
                id: 8,
                result: Err("no".into())
            }
        );
        let event =
            parse(r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#);
        assert_eq!(
            event,
            Message::Event {
                name: "SHUTDOWN".into(),
                reason: Some("guest-reset".into())
            }
        );
        let event = parse(r#"{"event": "STOP", "timestamp": {}}"#);
        assert_eq!(
            event,
            Message::Event {
                name: "STOP".into(),
                reason: None
            }
        );
    }

    #[test]
    fn a_request_is_one_line() {
        let line = request(3, "stop", &json!({}));
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        assert!(line.contains(r#""execute":"stop""#) && line.contains(r#""id":3"#));
    }
}
