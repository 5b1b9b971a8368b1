//! What mnemon promises, through its public API: one module a promise, or a few that belong together.

mod any_input;
mod backend_faults;
mod backup;
mod bad_input;
mod compacting;
mod concurrency;
mod conversations;
mod current_strengths;
mod dashboard;
mod decay;
mod decay_cycles;
mod detached;
mod erasing;
mod faults;
mod flaws;
mod flush_cost;
mod flush_returns;
mod groups;
mod history;
mod hostile;
mod hostile_schema;
mod legion;
mod lifecycle;
mod limits;
mod linearizable;
mod links;
mod links_recovery;
mod listener;
mod metrics;
mod model;
mod opening;
mod own_backend;
mod pages;
mod partitions;
mod programs;
mod quota;
mod racing_links;
mod racing_queries;
mod ranking;
mod recall;
mod recovery;
mod reinforcement;
mod removal;
mod retrieval;
mod round_trip;
mod schema_1;
mod snapshots;
mod spilling;
mod spilling_again;
mod status_file;
mod subscribe;
mod tracing_layer;
mod unopenable;
mod upkeep;
mod validity;
mod verify;
mod views;
mod walks;
mod watermarks;
mod writes;

/// Opens the store of a test in its file or, over [another engine](harness::space), in the place of that file.
#[cfg(feature = "sqlite")]
trait OpenAt {
    fn open_at(self, path: &std::path::Path) -> mnemon::Result<mnemon::TraceStore>;
}

#[cfg(feature = "sqlite")]
impl OpenAt for mnemon::StoreBuilder {
    fn open_at(self, path: &std::path::Path) -> mnemon::Result<mnemon::TraceStore> {
        #[cfg(feature = "postgres")]
        if let Some((url, space)) = harness::space::in_place_of(path) {
            return self.space(space).spill_to(path.with_extension("spills")).connect(&url);
        }
        self.open(path)
    }
}

/// A store with a file of its own, that holds so many notes and has flushed them, and their ids.
#[cfg(feature = "sqlite")]
fn flushed(notes: usize) -> harness::Outcome<(harness::TestDir, mnemon::TraceStore, Vec<mnemon::TraceId>)> {
    let file = harness::TestDir::new()?;
    let store = harness::manual_flush().open_at(file.path())?;
    let ids = store.insert_many((0..notes).map(harness::note))?;
    store.flush()?;
    Ok((file, store, ids))
}
