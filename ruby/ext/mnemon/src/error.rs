//! Errors as Ruby exceptions: `ArgumentError` for input, otherwise `Mnemon::Error` with its kind.

use magnus::{Error, ExceptionClass, RModule, Ruby, Value, prelude::*};
use mnemon::ErrorKind;
use std::any::Any;
use std::error::Error as _;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic, with its message if it had one.
pub(crate) struct Panicked(pub(crate) Option<String>);

impl From<Box<dyn Any + Send>> for Panicked {
    fn from(panic: Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self(text.or_else(|| panic.downcast_ref::<String>().cloned()))
    }
}

pub(crate) fn ruby() -> Ruby {
    // Exceptions are made only inside methods, which Ruby calls with its lock held.
    Ruby::get().unwrap_or_else(|error| unreachable!("{error}"))
}

fn exception(ruby: &Ruby, kind: &str, message: &str) -> Error {
    let made = ruby.class_object().const_get::<_, RModule>("Mnemon").and_then(|module| {
        let class: ExceptionClass = module.const_get("Error")?;
        class.new_instance((message, ruby.to_symbol(kind)))
    });
    match made {
        Ok(exception) => exception.into(),
        Err(error) => error,
    }
}

/// Returns the exception for an error of the crate.
pub(crate) fn raised(error: mnemon::Error) -> Error {
    let ruby = ruby();
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        message += &format!("; {hint}");
    }
    match error.kind() {
        ErrorKind::InvalidInput => invalid(message),
        ErrorKind::Io => io(&ruby, &message),
        kind => exception(&ruby, &kind.to_string().replace(' ', "_"), &message),
    }
}

pub(crate) fn io(ruby: &Ruby, message: &str) -> Error {
    exception(ruby, "io", message)
}

pub(crate) fn panicked(panic: Panicked) -> Error {
    let message = panic.0.unwrap_or_else(|| "a panic without a message".to_owned());
    exception(&ruby(), "panicked", &format!("mnemon panicked: {message}"))
}

/// Returns an `ArgumentError`.
pub(crate) fn invalid(message: impl Display) -> Error {
    Error::new(ruby().exception_arg_error(), message.to_string())
}

/// Runs a native method, which holds Ruby's lock: a panic becomes an exception that a host can rescue.
pub(crate) fn caught(method: impl FnOnce() -> Result<Value, Error>) -> Result<Value, Error> {
    catch_unwind(AssertUnwindSafe(method)).unwrap_or_else(|panic| Err(panicked(panic.into())))
}

/// Returns the method for a function and the number of its arguments, like `magnus::method!`, but with panics as
/// `Mnemon::Error`: magnus makes them `fatal`, which ends the process.
macro_rules! native {
    ($function:expr, 0) => { native!($function, Method0, RubyMethod0, 0,) };
    ($function:expr, 1) => { native!($function, Method1, RubyMethod1, 1, a) };
    ($function:expr, 2) => { native!($function, Method2, RubyMethod2, 2, a, b) };
    ($function:expr, 3) => { native!($function, Method3, RubyMethod3, 3, a, b, c) };
    ($function:expr, $plain:ident, $with_ruby:ident, $count:tt, $($argument:ident),*) => {
        magnus::method!(
            |ruby: &magnus::Ruby, this: magnus::Value, $($argument: magnus::Value),*| {
                #[allow(unused_imports, reason = "a function that takes no `Ruby` needs the first, others the second")]
                use magnus::method::{$plain, $with_ruby};
                $crate::error::caught(|| ($function).call_convert_value(ruby, this, $($argument),*))
            },
            $count
        )
    };
}
pub(crate) use native;
