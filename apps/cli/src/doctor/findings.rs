//! What the doctor found, for people and for programs.

use ditto::types::{Object, Value, json};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Fine,
    Warning,
    Failure,
}

struct Finding {
    level: Level,
    check: &'static str,
    text: String,
    advice: Option<String>,
}

/// All findings, in the order of the checks.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn fine(&mut self, check: &'static str, text: impl Into<String>) {
        self.0.push(Finding { level: Level::Fine, check, text: text.into(), advice: None });
    }

    pub(super) fn add(
        &mut self,
        level: Level,
        check: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.0.push(Finding { level, check, text: text.into(), advice: Some(advice.into()) });
    }

    pub(super) fn failures(&self) -> usize {
        self.0.iter().filter(|f| f.level == Level::Failure).count()
    }

    /// One finding a line, its advice below.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for f in &self.0 {
            out.push_str(&format!("{:<5} {:<11} {}\n", f.level.name(), f.check, f.text.escape_debug()));
            if let Some(advice) = &f.advice {
                out.push_str(&format!("      {:<11} -> {advice}\n", ""));
            }
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// `{"ok": …, "findings": [{"level", "check", "text", "advice"}]}`.
    pub(super) fn json(&self) -> String {
        let finding = |f: &Finding| {
            let mut out = Object::from([
                ("level".into(), Value::from(f.level.name())),
                ("check".into(), Value::from(f.check)),
                ("text".into(), Value::from(f.text.as_str())),
            ]);
            if let Some(advice) = &f.advice {
                out.insert("advice".into(), Value::from(advice.as_str()));
            }
            Value::Object(out)
        };
        let findings = self.0.iter().map(finding).collect();
        json::to_string(&Value::Object(Object::from([
            ("ok".into(), Value::Bool(self.failures() == 0)),
            ("findings".into(), Value::Array(findings)),
        ])))
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Fine => "ok",
            Level::Warning => "warn",
            Level::Failure => "fail",
        }
    }
}

/// What to do about a refusal, by its stable name.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "wrong_database" => "give both devices the same database id",
        "wrong_key" => "give both devices the same shared key",
        "mode_mismatch" => "one device has a shared key and the other has none: give both the same one",
        "incompatible_version" => "update the older of the two apps",
        "at_capacity" => {
            "the other device has as many connections as it takes; it is reached through others, or later"
        }
        "denied" | "not_answered" => {
            "the app of the other device decides: see its connection request handler"
        }
        "self_connection" => {
            "the address leads to this device, or to one with a copied database: give that one a new directory"
        }
        "timed_out" => {
            "the other side took too long: a slow network, or something else that listens at the address"
        }
        "unreachable" => {
            "is the device on, in the same network, and does it listen at that address? Look at firewalls and at the \
                          access point's client isolation"
        }
        "malformed" | "tls" => {
            "something else listens or connects at that address, or a proxy changes the bytes"
        }
        _ => "look at the log of the other device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_get_the_same() {
        let mut f = Findings::default();
        f.fine("listener", "fine");
        f.add(Level::Warning, "peer", "nobody", "wait");
        assert_eq!(f.failures(), 0);
        f.add(Level::Failure, "clock", "an hour\u{1b}", "set it");
        assert_eq!(f.failures(), 1);
        let text = f.text();
        assert!(text.starts_with("ok    listener    fine\nwarn  peer        nobody\n"), "{text}");
        assert!(text.contains("-> set it") && !text.contains('\u{1b}'), "{text}");
        let json = f.json();
        assert!(json.contains(r#""ok":false"#) && json.contains(r#""advice":"wait""#), "{json}");
    }

    #[test]
    fn every_refusal_has_an_advice_of_its_own() {
        let names =
            ["wrong_database", "wrong_key", "mode_mismatch", "incompatible_version", "at_capacity", "denied"];
        assert!(names.iter().all(|n| advice(n) != advice("other")));
    }
}
