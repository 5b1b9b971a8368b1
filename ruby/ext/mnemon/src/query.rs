//! Queries: their conditions as a Hash, and what they find.

use crate::convert::{Mode, float, text, time};
use crate::error::{invalid, native};
use crate::store::Store;
use crate::trace::{Trace, array, fields, id, named};
use crate::unlocked::compute;
use magnus::{Error, RArray, RHash, RModule, Ruby, prelude::*};
use mnemon::{Order, Query};
use std::sync::Arc;

/// Traces that were found. They become Ruby objects a slice at a time, so that other threads get their turn.
#[magnus::wrap(class = "Mnemon::Found", free_immediately, size)]
pub(crate) struct Found(pub(crate) std::cell::RefCell<std::vec::IntoIter<Arc<mnemon::Trace>>>);

impl Found {
    pub(crate) fn new(traces: Vec<Arc<mnemon::Trace>>) -> Self {
        Self(std::cell::RefCell::new(traces.into_iter()))
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns traces without taking them out.
    fn slice(ruby: &Ruby, this: &Self, from: usize, most: usize) -> Result<RArray, Error> {
        let traces = this.0.borrow();
        array(ruby, traces.as_slice().iter().skip(from).take(most).cloned().map(Trace))
    }

    fn shift(ruby: &Ruby, this: &Self, most: usize) -> Result<RArray, Error> {
        let traces: Vec<_> = this.0.borrow_mut().by_ref().take(most).collect();
        array(ruby, traces.into_iter().map(Trace))
    }
}

impl Store {
    fn query<'a>(&'a self, conditions: RHash) -> Result<Query<'a>, Error> {
        let mut query = self.store.query();
        for (name, value) in fields(conditions)? {
            if value.is_nil() {
                continue;
            }
            let each = || {
                RArray::from_value(value).map_or_else(|| vec![value], |values| values.into_iter().collect())
            };
            let text = |value| text(value, &name, Mode::Strict);
            query = match name.as_str() {
                "type" => {
                    each().into_iter().try_fold(query, |q, v| Ok::<_, Error>(q.of_type(named(v, "type")?)))?
                }
                "tags" => each().into_iter().try_fold(query, |q, v| Ok::<_, Error>(q.tagged(text(v)?)))?,
                "any_tags" => query.tagged_any(each().into_iter().map(text).collect::<Result<Vec<_>, _>>()?),
                "without_tags" => {
                    each().into_iter().try_fold(query, |q, v| Ok::<_, Error>(q.untagged(text(v)?)))?
                }
                "tier" => {
                    each().into_iter().try_fold(query, |q, v| Ok::<_, Error>(q.tier(named(v, "tier")?)))?
                }
                "parent" => query.parent(id(value, "parent")?),
                "partition" => query.partition(text(value)?),
                "unresolved" => query.unresolved(value.to_bool()),
                "since" => query.since(time(value, "since")?),
                "until" => query.until(time(value, "until")?),
                "min_strength" => query.min_strength(float(value, "min_strength")?),
                "include_invalid" => {
                    if value.to_bool() {
                        query.include_invalid()
                    } else {
                        query
                    }
                }
                "limit" => query.limit(usize::try_convert(value)?),
                "order" => query.order(match text(value)?.as_str() {
                    "strength" => Order::Strength,
                    "recency" => Order::Recency,
                    "score" => Order::Score,
                    "created" => Order::Created,
                    other => {
                        return Err(invalid(format!(
                            "order is {other}: give one of strength, recency, score, created"
                        )));
                    }
                }),
                _ => return Err(invalid(format!("{name} is no condition of a query"))),
            };
        }
        Ok(query)
    }

    fn found(&self, conditions: RHash) -> Result<Found, Error> {
        let query = self.query(conditions)?;
        compute(|| query.run()).map(Found::new)
    }

    fn count(&self, conditions: RHash) -> Result<usize, Error> {
        let query = self.query(conditions)?;
        compute(|| query.count())
    }
}

pub(crate) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let found = module.define_class("Found", ruby.class_object())?;
    found.undef_default_alloc_func();
    found.define_method("size", native!(Found::len, 0))?;
    found.define_method("slice", native!(Found::slice, 2))?;
    found.define_method("shift", native!(Found::shift, 1))?;
    let class = module.define_class("Store", ruby.class_object())?;
    class.define_method("native_query", native!(Store::found, 1))?;
    class.define_method("native_count", native!(Store::count, 1))?;
    Ok(())
}
