//! The native part of the gem `mnemon`. The library in `lib/` gives it the signatures that a Rubyist expects.
#![deny(unsafe_op_in_unsafe_fn)]

mod convert;
mod error;
mod legion;
mod legion_hash;
mod query;
mod store;
mod trace;
mod unlocked;

use magnus::{Error, Ruby, TypedData};

#[magnus::init(name = "mnemon_native")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    let module = ruby.define_module("Mnemon")?;
    trace::define(ruby, module)?;
    store::define(ruby, module)?;
    query::define(ruby, module)?;
    legion::define(ruby, module)?;
    #[cfg(feature = "keep-lock")]
    module.define_module_function(
        "keep_lock=",
        magnus::function!(
            |keep: bool| unlocked::KEEP_LOCK.store(keep, std::sync::atomic::Ordering::Relaxed),
            1
        ),
    )?;
    // Looked up now, by one thread: later, two threads could wait for each other, one for this and one for Ruby's lock.
    trace::Trace::class(ruby);
    query::Found::class(ruby);
    legion::Feed::class(ruby);
    store::Store::class(ruby);
    Ok(())
}
