//! Collects what the code under test logs as an error. A run without faults of the hardware must log none.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut text = Text(event.metadata().target().to_owned());
            event.record(&mut text);
            ERRORS.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
        }
    }
}

/// Begins to collect, once per process. Stores log from threads of their own, so that it cannot be done per run.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else may listen already; then errors are theirs to see.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Collector));
    });
}

/// What was logged since the last call, by any run of this process.
pub(crate) fn errors() -> Vec<String> {
    std::mem::take(&mut *ERRORS.lock().unwrap_or_else(PoisonError::into_inner))
}
