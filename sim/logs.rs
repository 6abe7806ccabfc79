//! Counts what the product says in its log: a few rare situations are told there and nowhere else.

use std::{cell::RefCell, fmt::Write as _, sync::Once};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::marks::{self, Counts};

thread_local! {
    static COUNTS: RefCell<Option<Counts>> = const { RefCell::new(None) };
}

/// Begins to count for a run on this thread.
pub fn install(counts: &Counts) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // There is one process-wide subscriber; a second one can only be this one again.
        let _ = tracing::subscriber::set_global_default(Marker);
    });
    COUNTS.set(Some(counts.clone()));
}

/// Reads warnings and news of the product's own modules.
struct Marker;

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string can't fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl Subscriber for Marker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::INFO
            && metadata.target().starts_with("bonsaifs")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        COUNTS.with_borrow(|counts| {
            let Some(counts) = counts else { return };
            if message.0.contains("damaged") {
                counts.add(marks::CORRUPT_CACHE);
            }
            if message.0.contains("coldest of the cache left") {
                counts.add(marks::COLDEST_LEFT);
            }
            if message.0.contains("no commit is complete any more") {
                counts.add(marks::TREES_LEFT);
            }
            if message.0.contains("small packs were merged") {
                counts.add(marks::PACKS_MERGED);
            }
            if message.0.contains("takes writes again") {
                counts.add(marks::DISK_RESUMED);
            }
            if message.0.contains("takes no more") {
                counts.add(marks::DISK_REFUSED);
            }
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
