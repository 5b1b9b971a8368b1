//! What the drop-in for the original gem asks of the native store.

use crate::convert::{Mode, text};
use crate::error::{native, raised};
use crate::legion_hash::{
    ASSOCIATED, Waiting, content, given_id, has_envelope, id_of, name, other_type, parts, waiting,
    with_waiting,
};
use crate::query::Found;
use crate::store::Store;
use crate::trace::{Trace, array};
use crate::unlocked::compute;
use jiff::Timestamp;
use magnus::{Error, RArray, RHash, RModule, Ruby, Value, prelude::*, r_hash::ForEach};
use mnemon::{ErrorKind, FeedEvent, Link, NewTrace, Order, Subscription, TraceId, TraceStore, TraceType};
use std::collections::HashSet;

/// A count that does not associate, and that the next co-activation makes one that does.
const APART: u32 = ASSOCIATED - 1;

/// Number of changes that a feed holds for one who does not look.
const MOST_FED: usize = 1 << 20;

/// Returns a store whose payloads have what the original calls the content: the same one if it has no others.
fn plain(store: TraceStore) -> mnemon::Result<TraceStore> {
    if !store.iter().any(|trace| has_envelope(&trace)) {
        return Ok(store);
    }
    let copy = TraceStore::builder().max_payload_bytes(usize::MAX).in_memory()?;
    let mut traces = Vec::with_capacity(store.len());
    for trace in store.iter() {
        traces.push(NewTrace::from((*trace).clone()).payload(content(&trace)?));
    }
    copy.restore(traces)?;
    for trace in store.iter() {
        for link in store.links(trace.id()).into_iter().filter(|link| link.ends().0 == trace.id()) {
            copy.put_link(link)?;
        }
    }
    Ok(copy)
}

fn counts_of(hash: RHash) -> Result<Waiting, Error> {
    let mut counts = Waiting::new();
    hash.foreach(|key: Value, count: u32| {
        counts.insert(text(key, "trace_id", Mode::Faithful)?, count);
        Ok(ForEach::Continue)
    })?;
    Ok(counts)
}

fn hash_of(ruby: &Ruby, counts: &Waiting) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    for (name, count) in counts {
        hash.aset(name.as_str(), *count)?;
    }
    Ok(hash)
}

/// What was committed since the last look.
#[magnus::wrap(class = "Mnemon::Feed", free_immediately, size)]
pub(crate) struct Feed(Subscription);

impl Feed {
    /// Returns the next commit as an Array of the changed traces, each with its id, and an Array of the changed links,
    /// each with its two ids and its count: nil for what was removed. Returns `:gap` if commits were dropped because
    /// nobody looked, and nil if there is no further commit.
    fn take(ruby: &Ruby, this: &Self) -> Result<Value, Error> {
        let commit = match this.0.try_recv() {
            None => return Ok(ruby.qnil().as_value()),
            Some(FeedEvent::Committed(commit)) => commit,
            Some(_) => return Ok(ruby.to_symbol("gap").as_value()),
        };
        let traces = commit.traces.iter().map(|(id, trace)| (id.to_string(), trace.clone().map(Trace)));
        let links = commit
            .links
            .iter()
            .map(|((a, b), link)| (a.to_string(), b.to_string(), link.map(|link| link.count())));
        Ok(ruby.into_value((array(ruby, traces)?, array(ruby, links)?)))
    }
}

impl Store {
    /// Returns a feed of the commits from now on.
    fn feed(&self) -> Feed {
        Feed(self.store.subscribe(MOST_FED))
    }

    /// Stores a trace, and makes its links those of its list. Takes the counts of co-activations that wait for a trace
    /// to be stored, and returns those that still do; they lie in the payload.
    fn put_hash(ruby: &Ruby, this: &Self, hash: RHash, counts: RHash) -> Result<RHash, Error> {
        let parts = parts(ruby, hash, "default")?;
        let (id, associated) = (parts.id, parts.associated.clone());
        // A partition never changes, so a trace that changes its own is another one.
        if this.store.get(id).is_some_and(|old| old.partition() != parts.partition) {
            this.store.remove(id).map_err(raised)?;
        }
        let wanted: HashSet<_> = associated.iter().map(|name| id_of(name)).collect();
        let mut waiting = counts_of(counts)?;
        if this.store.contains(id) {
            // What the list no longer has.
            for (_, count) in waiting.iter_mut().filter(|(name, _)| !wanted.contains(&id_of(name))) {
                *count = (*count).min(APART);
            }
        }
        for name in associated.into_iter().filter(|name| id_of(name) != id) {
            let count = waiting.entry(name).or_default();
            *count = (*count).max(ASSOCIATED);
        }
        let (known, mut absent): (Waiting, Waiting) =
            waiting.into_iter().partition(|(name, _)| this.store.contains(id_of(name)));
        let stored = this.store.replace(parts.with(&absent)?).map_err(raised)?;
        this.wrote(ruby, stored.payload());
        for link in this.store.links(id).into_iter().filter(Link::is_associated) {
            if let Some(other) = link.other(id).filter(|other| !wanted.contains(other)) {
                let apart = Link::new((id, other), APART, link.first_at(), link.last_at()).map_err(raised)?;
                this.store.put_link(apart).map_err(raised)?;
            }
        }
        for (name, count) in known {
            if !this.link(id, id_of(&name), count)? {
                absent.insert(name, count);
            }
        }
        hash_of(ruby, &absent)
    }

    /// Makes these the counts that lie in the payload of a trace.
    fn put_waiting(&self, id: Value, counts: RHash) -> Result<(), Error> {
        let (id, counts) = (id_of(&name(id)?), counts_of(counts)?);
        while let Some(trace) = self.store.get(id) {
            let payload = with_waiting(&trace, &counts)?;
            match self.store.update_if(id, trace.revision(), |edit| edit.payload(payload.clone())) {
                Err(error) if error.kind() == ErrorKind::RevisionConflict => {}
                done => return done.map(drop).map_err(raised),
            }
        }
        Ok(())
    }

    /// Returns the counts of all payloads.
    fn all_waiting(ruby: &Ruby, this: &Self) -> Result<RHash, Error> {
        let all = compute(|| {
            let each = this.store.iter().filter_map(|trace| match waiting(&trace) {
                Ok(counts) if counts.is_empty() => None,
                counts => Some(counts.map(|counts| (given_id(&trace), counts))),
            });
            each.collect::<mnemon::Result<Vec<_>>>()
        })?
        .map_err(raised)?;
        let hash = ruby.hash_new();
        for (id, counts) in all {
            hash.aset(id, hash_of(ruby, &counts)?)?;
        }
        Ok(hash)
    }

    /// Links two traces, with at least this count; `false` if one of them is not stored.
    fn link(&self, a: TraceId, b: TraceId, count: u32) -> Result<bool, Error> {
        let known = self.store.link(a, b).map_or(0, |link| link.count());
        if known >= count {
            return Ok(true);
        }
        let now = Timestamp::now();
        match self.store.put_link(Link::new((a, b), count, now, now).map_err(raised)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(raised(error)),
        }
    }

    fn link_named(&self, a: Value, b: Value, count: u32) -> Result<bool, Error> {
        self.link(id_of(&name(a)?), id_of(&name(b)?), count)
    }

    /// Returns the count of two traces, or nil if one of them is not stored.
    fn co_activate_named(&self, a: Value, b: Value) -> Result<Option<u32>, Error> {
        match self.store.co_activate(id_of(&name(a)?), id_of(&name(b)?)) {
            Ok(link) => Ok(Some(link.count())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(raised(error)),
        }
    }

    fn links_named(ruby: &Ruby, this: &Self, id: Value) -> Result<RHash, Error> {
        let (id, hash) = (id_of(&name(id)?), ruby.hash_new());
        for link in this.store.links(id) {
            if let Some(other) = link.other(id) {
                hash.aset(this.given_ids([&other]).pop(), link.count())?;
            }
        }
        Ok(hash)
    }

    fn find_named(&self, id: Value) -> Result<Option<Trace>, Error> {
        Ok(self.store.get(id_of(&name(id)?)).map(Trace))
    }

    fn delete_named(&self, id: Value) -> Result<bool, Error> {
        self.store.remove(id_of(&name(id)?)).map(|trace| trace.is_some()).map_err(raised)
    }

    fn of_type(&self, kind: String, min_strength: f64, limit: usize) -> Result<Found, Error> {
        let known = kind.parse::<TraceType>();
        compute(|| {
            let query = self.store.query().min_strength(min_strength).include_invalid();
            let query = match known {
                Ok(known) => query.of_type(known).filter(|trace| other_type(trace).is_none()),
                Err(_) => query.filter(|trace| other_type(trace).is_some_and(|other| other == kind)),
            };
            query.limit(limit).run()
        })
        .map(Found::new)
    }

    fn associated_named(&self, id: Value, min_strength: f64, limit: usize) -> Result<Found, Error> {
        Ok(Found::new(self.store.associated(id_of(&name(id)?), min_strength, limit)))
    }

    fn walk_named(
        ruby: &Ruby,
        this: &Self,
        start: Value,
        hops: usize,
        min_strength: f64,
    ) -> Result<RArray, Error> {
        let start = id_of(&name(start)?);
        let steps = compute(|| {
            let mut walk = this.store.walk(start, hops.max(1), min_strength);
            let steps: Vec<_> = walk.by_ref().collect();
            let named = steps.iter().map(|step| {
                let path = this.given_ids(&walk.path(step.trace.id()));
                (given_id(&step.trace), step.depth, path)
            });
            named.collect::<Vec<_>>()
        })?;
        let all = ruby.ary_new_capa(steps.len());
        for (id, depth, path) in steps {
            let hash = ruby.hash_new();
            hash.aset(ruby.to_symbol("trace_id"), id)?;
            hash.aset(ruby.to_symbol("depth"), depth)?;
            hash.aset(ruby.to_symbol("path"), array(ruby, path)?)?;
            all.push(hash)?;
        }
        Ok(all)
    }

    /// Returns the number of traces that can fade, and the number that a cycle of decay has removed.
    fn decay_counts(ruby: &Ruby, this: &Self) -> Result<(usize, usize), Error> {
        let (before, removed) = this.waiting(ruby, |store| {
            let removed = store.decay()?;
            let fades = store.iter().filter(|trace| trace.base_decay_rate() > 0.0).count();
            Ok((fades, removed.traces))
        })?;
        Ok((before, removed))
    }

    /// Returns the stored ones of the named traces with their scores for now, best first.
    fn rank_named(ruby: &Ruby, this: &Self, names: RArray) -> Result<RArray, Error> {
        let ids = names.into_iter().map(|id| Ok(id_of(&name(id)?))).collect::<Result<Vec<_>, Error>>()?;
        let ranked = compute(|| this.store.rank(ids.iter().copied()))?;
        // A name that is given twice is returned twice.
        let each = ranked.into_iter().flat_map(|ranked| {
            let times = ids.iter().filter(|id| **id == ranked.trace.id()).count();
            std::iter::repeat_n(ranked, times)
        });
        array(ruby, each.map(|ranked| (Trace(ranked.trace), ranked.score)))
    }

    fn strongest(&self, min_strength: f64, limit: usize) -> Result<Found, Error> {
        let query = self.store.query().min_strength(min_strength).include_invalid();
        compute(|| query.order(Order::Strength).limit(limit).run()).map(Found::new)
    }

    fn import_legion(ruby: &Ruby, this: &Self, path: String) -> Result<RHash, Error> {
        let report = this.waiting(ruby, |store| mnemon::legion::read(path)?.store_in(&store))?;
        let (hash, key) = (ruby.hash_new(), |name| ruby.to_symbol(name));
        hash.aset(key("traces"), report.traces)?;
        hash.aset(key("links"), report.links)?;
        hash.aset(key("known"), report.traces_known)?;
        hash.aset(key("findings"), array(ruby, report.findings.iter().map(|finding| finding.to_string()))?)?;
        Ok(hash)
    }

    fn export_legion(ruby: &Ruby, this: &Self, path: String) -> Result<usize, Error> {
        let export =
            |store: TraceStore| mnemon::legion::export(&plain(store)?, path, mnemon::Progress::ignore);
        this.waiting(ruby, export).map(|report| report.traces)
    }
}

pub(crate) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Store", ruby.class_object())?;
    let feed = module.define_class("Feed", ruby.class_object())?;
    feed.undef_default_alloc_func();
    feed.define_method("take", native!(Feed::take, 0))?;
    class.define_method("legion_feed", native!(Store::feed, 0))?;
    class.define_method("legion_hash", native!(Store::hash, 2))?;
    class.define_method("legion_put", native!(Store::put_hash, 2))?;
    class.define_method("legion_put_waiting", native!(Store::put_waiting, 2))?;
    class.define_method("legion_waiting", native!(Store::all_waiting, 0))?;
    class.define_method("legion_rank", native!(Store::rank_named, 1))?;
    class.define_method("legion_link", native!(Store::link_named, 3))?;
    class.define_method("legion_co_activate", native!(Store::co_activate_named, 2))?;
    class.define_method("legion_links", native!(Store::links_named, 1))?;
    class.define_method("legion_find", native!(Store::find_named, 1))?;
    class.define_method("legion_delete", native!(Store::delete_named, 1))?;
    class.define_method("legion_of_type", native!(Store::of_type, 3))?;
    class.define_method("legion_associated", native!(Store::associated_named, 3))?;
    class.define_method("legion_walk", native!(Store::walk_named, 3))?;
    class.define_method("legion_decay", native!(Store::decay_counts, 0))?;
    class.define_method("legion_strongest", native!(Store::strongest, 2))?;
    class.define_method("import_legion", native!(Store::import_legion, 1))?;
    class.define_method("export_legion", native!(Store::export_legion, 1))?;
    let trace = module.define_class("Trace", ruby.class_object())?;
    trace.define_method("legion_id", native!(|trace: &Trace| given_id(&trace.0), 0))?;
    Ok(())
}
