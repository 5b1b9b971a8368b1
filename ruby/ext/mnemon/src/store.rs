//! `Mnemon::Store`: the native methods, under the names that `lib/mnemon/store.rb` gives a Ruby signature.

use crate::convert::{Mode, float, text};
use crate::error::{invalid, native, raised};
use crate::query::Found;
use crate::trace::{Change, Trace, array, fields, id, ids, named, new_trace};
use crate::unlocked::{compute, wait};
use magnus::typed_data::Obj;
use magnus::{DataTypeFunctions, Error, RArray, RHash, RModule, RString, Ruby, TypedData, Value, prelude::*};
use mnemon::{ErrorKind, Eviction, Health, Quota, Removed, TraceStore, WeakStore};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Number of bytes that a trace takes in memory beyond its payload, about.
const TRACE_BYTES: usize = 512;
/// Number of writes between which the garbage collector is told of the memory.
const TOLD_EACH: usize = 256;

#[derive(TypedData)]
#[magnus(class = "Mnemon::Store", free_immediately, size)]
pub(crate) struct Store {
    pub(crate) store: TraceStore,
    memory: Memory,
}

/// What the garbage collector is told about the store's memory, which is not Ruby's.
#[derive(Default)]
struct Memory {
    /// Number of bytes that it was told of.
    told: Cell<usize>,
    /// Number of payloads seen, and of their bytes: the store holds about the mean of them for each trace.
    payloads: Cell<usize>,
    payload_bytes: Cell<usize>,
}

impl Memory {
    fn saw(&self, payloads: usize, bytes: usize) {
        self.payloads.set(self.payloads.get() + payloads);
        self.payload_bytes.set(self.payload_bytes.get() + bytes);
    }

    /// Number of bytes that a store of so many traces takes, about.
    fn of(&self, traces: usize) -> usize {
        traces * (TRACE_BYTES + self.payload_bytes.get() / self.payloads.get().max(1))
    }

    fn tell(&self, ruby: &Ruby, traces: usize) {
        let now = self.of(traces);
        ruby.gc_adjust_memory_usage(now as isize - self.told.replace(now) as isize);
    }
}

impl DataTypeFunctions for Store {
    fn size(&self) -> usize {
        self.memory.of(self.store.len())
    }

    /// The last handle that goes writes all changes, which may take a while: not in the garbage collector.
    fn free(self: Box<Self>) {
        let Self { store, memory } = *self;
        if let Ok(ruby) = Ruby::get() {
            memory.tell(&ruby, 0);
        }
        // If no thread can be started, the drop happens here.
        let builder = std::thread::Builder::new().name("mnemon-drop".to_owned());
        if let Ok(thread) = builder.spawn(move || drop(store)) {
            let mut drops = DROPS.lock().unwrap_or_else(PoisonError::into_inner);
            drops.retain(|thread| !thread.is_finished());
            drops.push(thread);
        }
    }
}

/// Threads that write what a collected store still held.
static DROPS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());
/// Every store that was opened.
static OPENED: Mutex<Vec<WeakStore>> = Mutex::new(Vec::new());

/// Closes every store of this process, which is about to end. What can't be written is logged by the store.
fn close_all(ruby: &Ruby, _module: RModule) -> Result<(), Error> {
    wait(ruby, || {
        let opened = std::mem::take(&mut *OPENED.lock().unwrap_or_else(PoisonError::into_inner));
        let closed = opened.iter().filter_map(WeakStore::upgrade).filter_map(|store| store.close().err());
        let failed =
            closed.filter(|failed| failed.error.kind() != ErrorKind::Forked).map(|failed| failed.error);
        let failed: Vec<_> = failed.collect();
        for thread in std::mem::take(&mut *DROPS.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A panic of the drop has been reported by its thread.
            let _ = thread.join();
        }
        failed
    })?
    .into_iter()
    .next()
    .map_or(Ok(()), |error| Err(raised(error)))
}

fn seconds(value: Value, field: &str) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(float(value, field)?)
        .map_err(|_| invalid(format!("{field} is {}: give a number of seconds, 0 or more", value.inspect())))
}

fn removed(ruby: &Ruby, removed: Removed) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("traces"), removed.traces)?;
    hash.aset(ruby.to_symbol("links"), removed.links)?;
    Ok(hash)
}

impl Store {
    fn open(ruby: &Ruby, _class: Value, path: Option<RString>, options: RHash) -> Result<Obj<Self>, Error> {
        let (mut builder, mut quota) = (TraceStore::builder(), Quota::default());
        for (name, value) in fields(options)? {
            if value.is_nil() {
                continue;
            }
            builder = match name.as_str() {
                "partition" => builder.partition(text(value, &name, Mode::Strict)?),
                "flush_interval" => builder.flush_interval(seconds(value, &name)?),
                "close_timeout" => builder.close_timeout(seconds(value, &name)?),
                "max_payload_bytes" => builder.max_payload_bytes(usize::try_convert(value)?),
                "prune" => builder.prune(value.to_bool()),
                "max_traces" => {
                    quota.max_traces = usize::try_convert(value)?;
                    builder
                }
                "max_bytes" => {
                    quota.max_bytes = u64::try_convert(value)?;
                    builder
                }
                "eviction" => {
                    quota.eviction = match text(value, &name, Mode::Strict)?.as_str() {
                        "least_recently_reinforced" => Eviction::LeastRecentlyReinforced,
                        "lowest_confidence" => Eviction::LowestConfidence,
                        other => {
                            return Err(invalid(format!(
                                "eviction is {other}: give one of least_recently_reinforced, lowest_confidence"
                            )));
                        }
                    };
                    builder
                }
                _ => return Err(invalid(format!("{name} is no option of a store"))),
            };
        }
        let builder = builder.quota(quota);
        let store = match path {
            Some(path) => {
                let path = path.to_string()?;
                wait(ruby, move || builder.open(path))?.map_err(raised)?
            }
            None => builder.in_memory().map_err(raised)?,
        };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|store| store.upgrade().is_some());
        opened.push(store.downgrade());
        drop(opened);
        let this = Self { store, memory: Memory::default() };
        this.memory.saw(this.store.len(), this.payload_bytes()?);
        this.memory.tell(ruby, this.store.len());
        Ok(ruby.obj_wrap(this))
    }

    /// Number of bytes of all payloads.
    fn payload_bytes(&self) -> Result<usize, Error> {
        compute(|| self.store.iter().map(|trace| trace.payload().as_str().len()).sum())
    }

    /// Called after each write of a payload.
    pub(crate) fn wrote(&self, ruby: &Ruby, payload: &mnemon::Payload) {
        self.memory.saw(1, payload.as_str().len());
        if self.memory.payloads.get().is_multiple_of(TOLD_EACH) {
            self.memory.tell(ruby, self.store.len());
        }
    }

    pub(crate) fn waiting<T: Send + 'static>(
        &self,
        ruby: &Ruby,
        work: impl FnOnce(TraceStore) -> mnemon::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        let done = wait(ruby, move || work(store))?.map_err(raised);
        self.memory.tell(ruby, self.store.len());
        done
    }

    fn insert(ruby: &Ruby, this: &Self, hash: RHash) -> Result<String, Error> {
        let new = new_trace(ruby, hash)?;
        let id = this.store.insert(new).map_err(raised)?;
        if let Some(trace) = this.store.get(id) {
            this.wrote(ruby, trace.payload());
        }
        Ok(id.to_string())
    }

    fn replace(ruby: &Ruby, this: &Self, hash: RHash) -> Result<Trace, Error> {
        let new = new_trace(ruby, hash)?;
        let trace = this.store.replace(new).map_err(raised)?;
        this.wrote(ruby, trace.payload());
        Ok(Trace(trace))
    }

    fn update(
        ruby: &Ruby,
        this: &Self,
        id_: Value,
        revision: Option<u64>,
        hash: RHash,
    ) -> Result<Option<Trace>, Error> {
        let (id, changes) = (id(id_, "id")?, Change::all(ruby, hash)?);
        let done = match revision {
            Some(revision) => this.store.update_if(id, revision, |edit| Change::apply_all(&changes, edit)),
            None => this.store.update(id, |edit| Change::apply_all(&changes, edit)),
        };
        match done {
            Ok(trace) => Ok(trace.map(Trace)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(raised(error)),
        }
    }

    fn get(&self, id_: Value) -> Result<Option<Trace>, Error> {
        Ok(self.store.get(id(id_, "id")?).map(Trace))
    }

    fn contains(&self, id_: Value) -> Result<bool, Error> {
        Ok(self.store.contains(id(id_, "id")?))
    }

    fn delete(&self, id_: Value) -> Result<Option<Trace>, Error> {
        self.store.remove(id(id_, "id")?).map(|trace| trace.map(Trace)).map_err(raised)
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn all(&self) -> Result<Found, Error> {
        compute(|| {
            let mut traces: Vec<_> = self.store.iter().collect();
            traces.sort_unstable_by_key(|trace| (trace.created_at(), trace.id()));
            traces
        })
        .map(Found::new)
    }

    fn co_activate(&self, a: Value, b: Value) -> Result<u32, Error> {
        self.store.co_activate(id(a, "id")?, id(b, "id")?).map(|link| link.count()).map_err(raised)
    }

    fn unlink(&self, a: Value, b: Value) -> Result<bool, Error> {
        self.store.unlink(id(a, "id")?, id(b, "id")?).map(|link| link.is_some()).map_err(raised)
    }

    fn links(ruby: &Ruby, this: &Self, id_: Value) -> Result<RHash, Error> {
        let (id, hash) = (id(id_, "id")?, ruby.hash_new());
        for link in this.store.links(id) {
            if let Some(other) = link.other(id) {
                hash.aset(other.to_string(), link.count())?;
            }
        }
        Ok(hash)
    }

    fn associated(&self, id_: Value, min_strength: f64, limit: usize) -> Result<Found, Error> {
        Ok(Found::new(self.store.associated(id(id_, "id")?, min_strength, limit)))
    }

    fn walk(
        ruby: &Ruby,
        this: &Self,
        start: Value,
        max_hops: usize,
        min_strength: f64,
    ) -> Result<RArray, Error> {
        let start = id(start, "id")?;
        let steps = compute(|| {
            let mut walk = this.store.walk(start, max_hops, min_strength);
            let steps: Vec<_> = walk.by_ref().collect();
            let paths = steps.into_iter().map(|step| (walk.path(step.trace.id()), step));
            paths.collect::<Vec<_>>()
        })?;
        let all = ruby.ary_new_capa(steps.len());
        for (path, step) in steps {
            let path = array(ruby, path.iter().map(mnemon::TraceId::to_string))?;
            all.push((Trace(step.trace), step.depth, path))?;
        }
        Ok(all)
    }

    fn rank(ruby: &Ruby, this: &Self, ids_: Value) -> Result<RArray, Error> {
        let ids = ids(ids_, "ids")?;
        let ranked = compute(|| this.store.rank(ids))?;
        array(ruby, ranked.into_iter().map(|ranked| (Trace(ranked.trace), ranked.score)))
    }

    fn reinforce(&self, id_: Value) -> Result<Option<Trace>, Error> {
        self.store.reinforce(id(id_, "id")?).map(|trace| trace.map(Trace)).map_err(raised)
    }

    fn strength(&self, trace: &Trace) -> f64 {
        self.store.strength(&trace.0)
    }

    fn decay(ruby: &Ruby, this: &Self) -> Result<RHash, Error> {
        removed(ruby, this.waiting(ruby, |store| store.decay())?)
    }

    fn enforce_quota(ruby: &Ruby, this: &Self) -> Result<RHash, Error> {
        removed(ruby, this.waiting(ruby, |store| store.enforce_quota())?)
    }

    fn update_tiers(ruby: &Ruby, this: &Self) -> Result<usize, Error> {
        this.waiting(ruby, |store| store.update_tiers())
    }

    fn erase_type(ruby: &Ruby, this: &Self, kind: Value) -> Result<RHash, Error> {
        let kind = named(kind, "type")?;
        removed(ruby, this.waiting(ruby, move |store| store.erase_type(kind))?)
    }

    fn erase_partition(ruby: &Ruby, this: &Self, partition: String) -> Result<RHash, Error> {
        removed(ruby, this.waiting(ruby, move |store| store.erase_partition(&partition))?)
    }

    fn restore(ruby: &Ruby, this: &Self, hashes: RArray) -> Result<usize, Error> {
        let new = hashes.into_iter().map(|hash| new_trace(ruby, RHash::try_convert(hash)?));
        let new = new.collect::<Result<Vec<_>, _>>()?;
        this.waiting(ruby, move |store| store.restore(new))
    }

    fn flush(ruby: &Ruby, this: &Self) -> Result<u64, Error> {
        let report = this.waiting(ruby, |store| store.flush())?;
        Ok(report.rows_upserted + report.rows_updated + report.rows_deleted)
    }

    fn stats(ruby: &Ruby, this: &Self) -> Result<RHash, Error> {
        let (stats, hash) = (this.store.stats(), ruby.hash_new());
        let key = |name| ruby.to_symbol(name);
        hash.aset(key("traces"), stats.traces)?;
        hash.aset(key("links"), stats.links)?;
        hash.aset(key("dirty"), stats.dirty)?;
        hash.aset(key("cuts"), stats.cuts)?;
        hash.aset(key("flushes"), stats.flushes)?;
        hash.aset(key("flush_seconds"), stats.flush_time.as_secs_f64())?;
        hash.aset(key("rows_upserted"), stats.rows_upserted)?;
        hash.aset(key("rows_updated"), stats.rows_updated)?;
        hash.aset(key("rows_deleted"), stats.rows_deleted)?;
        hash.aset(key("last_error"), stats.last_error.map(|error| error.to_string()))?;
        hash.aset(key("quarantined"), stats.quarantined.len())?;
        Ok(hash)
    }

    fn health(ruby: &Ruby, this: &Self) -> Result<RArray, Error> {
        let health = this.store.health();
        let name = match health {
            Health::Healthy => "healthy",
            Health::Lagging { .. } => "lagging",
            Health::Degraded { .. } => "degraded",
            _ => "closed",
        };
        let array = ruby.ary_new();
        array.push(ruby.to_symbol(name))?;
        array.push(health.to_string())?;
        Ok(array)
    }

    fn close(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        this.waiting(ruby, |store| store.close().map(drop).map_err(mnemon::Error::from))
    }

    fn is_closed(&self) -> bool {
        self.store.health() == Health::Closed
    }

    #[cfg(debug_assertions)]
    fn panic_for_specs(&self) {
        panic!("planted");
    }
}

pub(crate) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    module.define_module_function("close_all", native!(close_all, 0))?;
    let class = module.define_class("Store", ruby.class_object())?;
    class.undef_default_alloc_func();
    class.define_singleton_method("native_open", native!(Store::open, 2))?;
    class.define_method("insert", native!(Store::insert, 1))?;
    class.define_method("native_replace", native!(Store::replace, 1))?;
    class.define_method("native_update", native!(Store::update, 3))?;
    class.define_method("get", native!(Store::get, 1))?;
    class.define_method("include?", native!(Store::contains, 1))?;
    class.define_method("delete", native!(Store::delete, 1))?;
    class.define_method("size", native!(Store::len, 0))?;
    class.define_method("native_all", native!(Store::all, 0))?;
    class.define_method("co_activate", native!(Store::co_activate, 2))?;
    class.define_method("unlink", native!(Store::unlink, 2))?;
    class.define_method("links", native!(Store::links, 1))?;
    class.define_method("native_associated", native!(Store::associated, 3))?;
    class.define_method("native_walk", native!(Store::walk, 3))?;
    class.define_method("rank", native!(Store::rank, 1))?;
    class.define_method("reinforce", native!(Store::reinforce, 1))?;
    class.define_method("strength", native!(Store::strength, 1))?;
    class.define_method("decay", native!(Store::decay, 0))?;
    class.define_method("enforce_quota", native!(Store::enforce_quota, 0))?;
    class.define_method("payload_bytes", native!(Store::payload_bytes, 0))?;
    class.define_method("update_tiers", native!(Store::update_tiers, 0))?;
    class.define_method("erase_type", native!(Store::erase_type, 1))?;
    class.define_method("erase_partition", native!(Store::erase_partition, 1))?;
    class.define_method("restore", native!(Store::restore, 1))?;
    class.define_method("flush", native!(Store::flush, 0))?;
    class.define_method("stats", native!(Store::stats, 0))?;
    class.define_method("native_health", native!(Store::health, 0))?;
    class.define_method("close", native!(Store::close, 0))?;
    class.define_method("closed?", native!(Store::is_closed, 0))?;
    // For the specs, whose build has debug assertions; a gem that is installed is built without.
    #[cfg(debug_assertions)]
    class.define_method("panic_for_specs", native!(Store::panic_for_specs, 0))?;
    Ok(())
}
