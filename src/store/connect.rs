//! Opening a space of a PostgreSQL database.

use super::TraceStore;
use super::events;
use super::load::{Home, Stored};
use super::settings::StoreBuilder;
use crate::backend::Discard;
use crate::backend::postgres::{self, MAX_PAYLOAD, Postgres};
use crate::error::{Error, Result};
use crate::trace::checked_name;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The shortest lease and timeout.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest: what a server counts in milliseconds.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Settings of a store in a space.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    server: postgres::Options,
    spill_to: Option<PathBuf>,
}

/// Settings of a store in a space of a PostgreSQL database: see [`connect`](Self::connect). Stores of another kind do
/// not look at them.
impl StoreBuilder {
    /// Name of the space that the store has in the database: 1 to 1,024 bytes. Default: `default`.
    pub fn space(mut self, space: impl Into<Arc<str>>) -> Self {
        self.postgres.server.space = space.into();
        self
    }

    /// Time after which another host may take the space over if this one stops: 100 milliseconds to 7 days. Default:
    /// 10 seconds. The lease is renewed three times in that time, and by each flush that writes something.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.postgres.server.lease = lease;
        self
    }

    /// Longest time that [`connect`](Self::connect) waits for another owner of the space to close it, or for the end of
    /// its lease. Default: zero, which fails at once.
    pub fn wait_for_lease(mut self, longest: Duration) -> Self {
        self.postgres.server.wait_for_lease = longest;
        self
    }

    /// Longest time that a flush to the server may take, from the first step to the last, whatever happens on the way:
    /// 100 milliseconds to 7 days. Default: 10 seconds. A flush may take one more second for each 2 MiB that it writes,
    /// and one that erases ten times as long. The timeout also limits each attempt to open the space, and the wait for
    /// the next rows while it is read.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.postgres.server.flush_timeout = timeout;
        self
    }

    /// Folder of the [spill](TraceStore::spill) of a store in a space; made if it is not there. All openings of the
    /// space on this machine should have the same one. Default: `mnemon` in the user's folder for the state of
    /// programs (`XDG_STATE_HOME`, or `.local/state` in `HOME`, on Windows `LOCALAPPDATA`), or in the system's folder
    /// for temporary files if there is none.
    pub fn spill_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.postgres.spill_to = Some(folder.into());
        self
    }

    /// Opens a [space](Self::space) of the PostgreSQL database that `url` names, making it if it does not exist, and
    /// loads all of its traces into memory. The tables are made in the schema `mnemon`, which the first opening needs
    /// the right to create. The space has one owner, whose [lease](Self::lease) keeps others away: memory is the truth,
    /// and the space is behind it by what is not flushed.
    ///
    /// `url` is `postgres://user:password@host:port/database`, or text like `host=/var/run/postgresql dbname=agents`.
    /// Of several hosts, separated by commas, the first one that takes writes is used. With `sslmode=require` the
    /// connection is made by TLS, and the server's certificate and name are verified against the system's roots
    /// (`SSL_CERT_FILE` names others); `verify-ca` and `verify-full` mean the same. With `prefer`, the default, a server
    /// without TLS is accepted as well; with `disable` TLS is not used. Nothing depends on the session, so that a pool
    /// in transaction mode can be between. The stores of one URL share 8 connections, and one more for their leases.
    ///
    /// If another owner takes the space over, since the lease of this one has ended while it was stopped or cut off,
    /// nothing more is written to the space from here. Flushes fail with [`InUse`](crate::ErrorKind::InUse), the health
    /// says so, and writes go on in memory; closing spills what could not be written. If the server fails over to one
    /// that lacks commits which were confirmed, everything is written anew from memory, after an event at level
    /// `ERROR`.
    ///
    /// An erasure deletes rows. It leaves bytes in files of the server until a `VACUUM`, and in its archives and backups.
    ///
    /// ```no_run
    /// use mnemon::TraceStore;
    /// use std::time::Duration;
    ///
    /// let store = TraceStore::builder()
    ///     .space("agent-7")
    ///     .wait_for_lease(Duration::from_secs(15))
    ///     .connect("postgres://agents@db.example/agents?sslmode=require")?;
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::ErrorKind::InUse) names the owner of the space and the end of its lease;
    /// [`Unreachable`](crate::ErrorKind::Unreachable) says why the server can't be reached, refuses the user, or has
    /// not answered in time; [`NotAStore`](crate::ErrorKind::NotAStore) and
    /// [`NewerSchema`](crate::ErrorKind::NewerSchema) say what is wrong with the schema `mnemon`, which is left
    /// unchanged. [`InvalidInput`](crate::ErrorKind::InvalidInput) names an invalid setting, among them
    /// [`keep_history`](Self::keep_history): a space keeps no history.
    pub fn connect(self, url: &str) -> Result<TraceStore> {
        let mut settings = self.check()?;
        let Options { server, spill_to } = self.postgres;
        check(&server)?;
        if settings.max_payload_bytes > MAX_PAYLOAD {
            let most = format_args!("give at most {MAX_PAYLOAD}, as the server takes no longer messages");
            return Err(Error::invalid("max_payload_bytes", settings.max_payload_bytes, most));
        }
        #[cfg(feature = "sqlite")]
        if let Some(contents) = settings.keep_history.filter(|contents| *contents > 0) {
            return Err(Error::invalid("keep_history", contents, "leave it out: a space keeps no history"));
        }
        settings.name = settings.name.or_else(|| Some(server.space.clone()));
        let folder = spill_to.unwrap_or_else(state_folder);
        events::opening(None, settings.partition.clone(), || {
            let spill = |boot| spill_path(&folder, &server.space, boot);
            let (in_folder, space) = (folder.clone(), server.space.clone());
            let has_spill = move |boot| spill_path(&in_folder, &space, boot).exists();
            let mut backend = Postgres::open(url, &server, settings.max_payload_bytes, has_spill)?;
            let home = Home {
                place: backend.place().into(),
                #[cfg(feature = "sqlite")]
                file: None,
                spill: spill(backend.boot()),
                boot: backend.boot(),
                left: backend.spilled().map(|boot| (spill(boot), boot)),
                longest_payload: postgres::longest_payload(settings.max_payload_bytes),
            };
            let stored = Stored::load(|into| backend.load_watched(self.watch.as_ref(), into))?;
            let stored = Stored { home: Some(home), taken: backend.skipped(), ..stored };
            let spill = stored.left_spill()?;
            if spill.is_some() {
                backend.applies_spill();
            }
            let store = stored.start_applying(spill, settings, self.flush, backend)?;
            store.start_upkeep()?;
            Ok(store)
        })
    }

    /// Opens a store without a file, filled with what a [space](Self::space) of the PostgreSQL database that `url`
    /// names holds as of one cut: a copy to inspect, or to experiment with, as `detached` makes of a file.
    /// The space is only read, even while a host owns it, and nothing is written back.
    ///
    /// ```no_run
    /// use mnemon::TraceStore;
    ///
    /// let copy = TraceStore::builder().space("agent-7").detached_space("postgres://db.example/agents")?;
    /// println!("{} traces", copy.len());
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such space, and the errors of
    /// [`connect`](Self::connect), except that a space may be in use.
    pub fn detached_space(self, url: &str) -> Result<TraceStore> {
        let settings = self.check()?;
        let Options { server, .. } = self.postgres;
        check(&server)?;
        events::opening(None, settings.partition.clone(), || {
            let read = |into: &mut dyn FnMut(_)| {
                postgres::read(url, &server, settings.max_payload_bytes, self.watch.as_ref(), into)
            };
            let stored = Stored::load(read)?;
            let (store, _) = stored.start(settings, self.flush, Discard);
            store.start_upkeep().ok();
            Ok(store)
        })
    }
}

fn check(options: &postgres::Options) -> Result<()> {
    checked_name("space", &options.space)?;
    for (name, length) in [("lease", options.lease), ("flush_timeout", options.flush_timeout)] {
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(Error::invalid(name, format_args!("{length:?}"), "give 100 milliseconds to 7 days"));
        }
    }
    Ok(())
}

impl TraceStore {
    /// Opens the space `default` of the PostgreSQL database that `url` names, with default settings: see
    /// [`StoreBuilder::connect`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`StoreBuilder::connect`].
    pub fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url)
    }
}

fn state_folder() -> PathBuf {
    let of = |name, below: &str| {
        let folder = std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute())?;
        Some(folder.join(below))
    };
    let of_user =
        of("XDG_STATE_HOME", "").or_else(|| of("HOME", ".local/state")).or_else(|| of("LOCALAPPDATA", ""));
    of_user.unwrap_or_else(std::env::temp_dir).join("mnemon")
}

/// The path of an opening's spill; the name of the space in it is for people.
fn spill_path(folder: &Path, space: &str, boot: Uuid) -> PathBuf {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let plain: String =
        space.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).take(64).collect();
    folder.join(format!("{plain}.{boot}.spill"))
}

#[cfg(test)]
mod tests {
    use super::spill_path;
    use std::path::Path;
    use uuid::Uuid;

    #[test]
    fn spill_stays_in_its_folder() {
        let path = spill_path(Path::new("folder"), "../agents/7 \u{e9}", Uuid::nil());
        let name = "folder/___agents_7__.00000000-0000-0000-0000-000000000000.spill";
        assert_eq!(path, Path::new(name));
    }
}
