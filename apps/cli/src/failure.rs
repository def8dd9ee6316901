//! How a command ends badly: exit codes and the error object.

use std::process::ExitCode;

use ditto::types::{ErrorKind, Object, SmolStr, Value};
use ditto::{DittoError, Position};

use crate::output;

/// A command's failure: 1 the query, 2 the usage, 3 the environment, 4 the directory is in use.
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// For programs that read stdout; only for errors of the library.
    error: Option<Value>,
}

impl Failure {
    /// The fault is in the arguments of the command.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), error: None }
    }

    /// The fault is in files, network or the machine.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into(), error: None }
    }

    /// The fault is in the data or the statement, and was already reported on stdout.
    pub(crate) fn query(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), error: None }
    }

    /// What was told already, in short, with the exit code of the first fault.
    pub(crate) fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), error: None }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Writes `{"error": …}` to stdout, for commands whose result is one object.
    pub(crate) fn answer(self) -> Self {
        if let Some(error) = &self.error {
            output::line(&Value::Object(Object::from([(SmolStr::new_static("error"), error.clone())])));
        }
        self
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        output::note(format_args!("error: {}", self.message));
        ExitCode::from(self.code)
    }
}

impl From<DittoError> for Failure {
    fn from(e: DittoError) -> Self {
        use ErrorKind::{
            AttachmentCreateFailed, AttachmentFetchFailed, AttachmentFileNotFound,
            AttachmentFilePermissionDenied, InvalidConfig, Io, PersistenceDirectoryLocked, StoreBackend,
            StoreCorrupt, StoreFull, StoreVersion,
        };
        let code = match e.kind() {
            PersistenceDirectoryLocked => 4,
            InvalidConfig => 2,
            Io | StoreBackend | StoreCorrupt | StoreFull | StoreVersion | ErrorKind::Internal => 3,
            AttachmentCreateFailed
            | AttachmentFetchFailed
            | AttachmentFileNotFound
            | AttachmentFilePermissionDenied => 3,
            _ => 1,
        };
        Self { code, message: e.to_string(), error: Some(error_value(&e)) }
    }
}

/// `{"kind", "message", "line", "column"}`; the place is null when the error is not about the statement's text.
pub(crate) fn error_value(e: &DittoError) -> Value {
    fault(e.kind().code(), e.reason(), e.position())
}

/// The same object for faults of the protocol itself.
pub(crate) fn fault(kind: &str, message: &str, position: Option<Position>) -> Value {
    let number = |n: Option<usize>| n.map_or(Value::Null, |n| Value::from(n as u64));
    Value::Object(Object::from([
        (SmolStr::new_static("kind"), Value::from(kind)),
        (SmolStr::new_static("message"), Value::from(message)),
        (SmolStr::new_static("line"), number(position.map(|p| p.line))),
        (SmolStr::new_static("column"), number(position.map(|p| p.column))),
    ]))
}
