//! A store without a file, in a process that can start no thread: whoever waits does the flusher's work, and is answered.
#![cfg(target_os = "linux")]

use harness::process::own_process;
use harness::{Outcome, note};
use mnemon::{ErrorKind, TraceStore};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// Says what became of what it asks for when it is woken.
#[derive(Default)]
struct Asks(Mutex<Option<TraceStore>>, Mutex<Vec<Option<ErrorKind>>>);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let store = self.0.lock().map(|mut store| store.take()).ok().flatten();
        if let Some(store) = store {
            let inserted = store.insert(note("in a waker"));
            let kinds = [inserted.err(), store.flush().err()].map(|error| error.map(|error| error.kind()));
            drop(store.flush_async());
            self.1.lock().map(|mut told| told.extend(kinds)).unwrap_or_default();
        }
    }
}

fn waits() -> Outcome {
    let store = TraceStore::in_memory();
    let mut context = Context::from_waker(Waker::noop());
    store.insert(note(1))?;
    let mark = store.mark();
    let Poll::Ready(waited) = pin!(store.wait(mark)).poll(&mut context) else {
        return Err("nobody else answers who waits".into());
    };
    assert!(waited?.watermark >= mark.generation() && store.watermark().durable >= mark.generation());
    // A mark of the generation that is open, which gets no write.
    assert!(pin!(store.wait(store.mark())).poll(&mut context).is_ready());

    // The waker of a subscription is woken in the middle of such a piece of work.
    let asks = Arc::new(Asks(Mutex::new(Some(store.clone())), Mutex::default()));
    let mut feed = store.subscribe(10);
    assert!(feed.poll_recv(&mut Context::from_waker(&asks.clone().into())).is_pending());
    store.insert(note(2))?;
    store.flush()?;
    let told = asks.1.lock().map(|told| told.clone()).unwrap_or_default();
    assert_eq!(told, [None, Some(ErrorKind::WouldDeadlock)]);
    assert_eq!((store.len(), store.stats().dirty), (3, 0), "what it asked for is done after that");
    store.close()?;
    Ok(())
}

#[test]
fn waiter_without_threads_is_answered() -> Outcome {
    let Some(mut command) = own_process(|| {
        let spawned = std::thread::Builder::new().spawn(|| ());
        assert!(spawned.is_err(), "there is no room for the stack of a thread");
        waits()
    })?
    else {
        return Ok(());
    };
    // The stack of every thread: more than there are addresses.
    let output = command.env("RUST_MIN_STACK", (1_u64 << 47).to_string()).output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}
