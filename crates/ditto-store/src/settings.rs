//! The system settings of one store (dql.md 9): read at open from the environment, changed by ALTER SYSTEM, never kept.
//!
//! A statement takes one [`Settings`] snapshot when it begins and sees no later change.

mod registry;
mod scope;
mod values;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use ditto_types::{Object, Value, json};

pub(crate) use registry::{PARAMETERS, Parameter};
pub use scope::SyncScope;
pub use values::Settings;

/// A setting that cannot be read or changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No setting has this name.
    #[error("unknown parameter '{0}'")]
    Unknown(String),
    /// The value is of the wrong type or out of bounds.
    #[error("parameter '{name}' must be {expected}, found {found}")]
    Value {
        /// The setting, in lower case.
        name: &'static str,
        /// Type, bounds and unit.
        expected: String,
        /// What was given, shortened.
        found: String,
    },
    /// The setting is read when the store is opened and stays as it is.
    #[error(
        "parameter '{name}' is read at start-up only; set the environment variable {variable} before opening"
    )]
    StartUp {
        /// The setting, in lower case.
        name: &'static str,
        /// The environment variable that sets it.
        variable: String,
    },
}

/// The settings of an open store.
pub(crate) struct SettingsCell {
    current: RwLock<Arc<Settings>>,
    /// What RESET goes back to: the defaults, with what the environment said at open.
    initial: Settings,
    listeners: Mutex<Vec<Sender<()>>>,
}

impl SettingsCell {
    /// Defaults and environment. `lookup` gives the value of an environment variable.
    ///
    /// A value that is not allowed is reported in the log and the default stays: an app must be able to open its
    /// data whatever its environment says.
    pub(crate) fn open(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut initial = Settings::default();
        for parameter in PARAMETERS {
            let variable = parameter.variable();
            let Some(text) = lookup(&variable) else { continue };
            if let Err(e) = parameter.put(&mut initial, &from_environment(&text)) {
                tracing::warn!(variable, error = %e, "an environment variable is ignored; the default stays");
            }
        }
        Self { current: RwLock::new(Arc::new(initial.clone())), initial, listeners: Mutex::default() }
    }

    /// The settings of this moment.
    pub(crate) fn snapshot(&self) -> Arc<Settings> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `ALTER SYSTEM SET name = value`; gives the row of the result.
    pub(crate) fn set(&self, name: &str, value: &Value) -> Result<Object, SettingError> {
        let parameter = changeable(name)?;
        self.change(|s| parameter.put(s, value))?;
        self.show(name)
    }

    /// `ALTER SYSTEM RESET name` and `SET name = DEFAULT`; gives the row of the result.
    pub(crate) fn reset(&self, name: &str) -> Result<Object, SettingError> {
        let parameter = changeable(name)?;
        self.change(|s| {
            parameter.copy(&self.initial, s);
            Ok(())
        })?;
        self.show(name)
    }

    /// `ALTER SYSTEM RESET ALL`; gives the row of the result, with every setting.
    pub(crate) fn reset_all(&self) -> Result<Object, SettingError> {
        self.change(|s| {
            *s = self.initial.clone();
            Ok(())
        })?;
        Ok(self.show_all(|_| true))
    }

    /// `SHOW name`.
    pub(crate) fn show(&self, name: &str) -> Result<Object, SettingError> {
        let parameter = find(name)?;
        Ok(Object::from([(parameter.name.into(), parameter.get(&self.snapshot()))]))
    }

    /// `SHOW ALL`, narrowed to the names that `wanted` holds for.
    pub(crate) fn show_all(&self, wanted: impl Fn(&str) -> bool) -> Object {
        let settings = self.snapshot();
        let rows = PARAMETERS.iter().filter(|p| wanted(p.name));
        rows.map(|p| (p.name.into(), p.get(&settings))).collect()
    }

    /// Settings that differ from their built-in defaults.
    pub(crate) fn non_default(&self) -> Object {
        let (settings, default) = (self.snapshot(), Settings::default());
        let changed = PARAMETERS.iter().map(|p| (p.name, p.get(&settings), p.get(&default)));
        changed.filter(|(_, now, default)| now != default).map(|(name, now, _)| (name.into(), now)).collect()
    }

    /// A channel that has something in it after settings changed. Several changes may arrive as one.
    pub(crate) fn subscribe(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    fn change(&self, f: impl FnOnce(&mut Settings) -> Result<(), SettingError>) -> Result<(), SettingError> {
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let mut next = current.as_ref().clone();
            f(&mut next)?;
            *current = Arc::new(next);
        }
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|l| !matches!(l.try_send(()), Err(TrySendError::Disconnected(()))));
        Ok(())
    }
}

fn find(name: &str) -> Result<&'static Parameter, SettingError> {
    let found = PARAMETERS.iter().find(|p| p.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| SettingError::Unknown(name.to_string()))
}

fn changeable(name: &str) -> Result<&'static Parameter, SettingError> {
    let parameter = find(name)?;
    if parameter.start_up {
        return Err(SettingError::StartUp { name: parameter.name, variable: parameter.variable() });
    }
    Ok(parameter)
}

/// The text of an environment variable as a value: JSON where it is JSON, `true` and `false` in any case, else text.
fn from_environment(text: &str) -> Value {
    let trimmed = text.trim();
    match trimmed.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => json::from_str(trimmed).unwrap_or_else(|_| Value::from(trimmed)),
    }
}

#[cfg(test)]
mod tests;
