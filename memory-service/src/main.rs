//! A host that serves memories over HTTP. You see the address it listens on and, when it is told to end by Ctrl-C or
//! SIGTERM, with how many traces it has closed its file.
//!
//! `cargo run -p memory-service -- agent.db 127.0.0.1:8080`, and in another terminal the commands of the README.

mod problem;
mod routes;

use metrics_exporter_prometheus::PrometheusBuilder;
use mnemon::{CloseReport, TraceStore};
use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "memory.db".to_owned());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());

    // Who wants a durable answer waits for the next flush, which all share that have come since the last one.
    let store = TraceStore::builder().flush_interval(Duration::from_millis(50)).open(&file)?;
    let page = PrometheusBuilder::new().install_recorder()?;
    let told_to_end = told_to_end()?;
    let listener = TcpListener::bind(&address).await?;
    println!("{} traces of {file} on http://{}", store.len(), listener.local_addr()?);

    let routes = routes::all(routes::Host { store: store.clone(), page });
    axum::serve(listener, routes).with_graceful_shutdown(told_to_end).await?;
    // A close waits for the disk: not on a thread that drives futures.
    let closed = tokio::task::spawn_blocking(move || close(store)).await??;
    println!("closed with {} traces", closed.traces);
    Ok(())
}

/// Closes the store. If the disk fails the store comes back, with all that is not on disk: it is tried once more.
fn close(store: TraceStore) -> mnemon::Result<CloseReport> {
    let closed = store.close().or_else(|failed| {
        eprintln!("{failed:?}; trying once more");
        failed.store.close()
    });
    Ok(closed?)
}

/// Resolves when the process is told to end. From the return of this call on nothing is missed.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves when the process is told to end. From the return of this call on nothing is missed.
#[cfg(windows)]
fn told_to_end() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
