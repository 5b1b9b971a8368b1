//! The tools of these tests do what they say.

use harness::{Outcome, wait_until};
use postgres_tests::{Pgbouncer, Proxy, Server, psql};
use std::time::{Duration, Instant};

#[test]
fn proxy_fails_as_told() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let url = server.url_at(proxy.port());
    let insert = |n: u32| psql(&url, &format!("BEGIN; INSERT INTO numbers VALUES ({n}); COMMIT"));
    let stored = || server.sql("SELECT string_agg(n::text, ',' ORDER BY n) FROM numbers");
    psql(&url, "CREATE TABLE numbers (n int)")?;
    insert(1)?;

    proxy.lose_answers(1);
    assert!(insert(2).is_err());
    assert_eq!((proxy.answers_lost(), stored()?.as_str()), (1, "1,2"), "the server has committed");

    proxy.refuse(true);
    assert!(insert(3).is_err());
    proxy.refuse(false);

    proxy.reset_after(40);
    assert!(insert(4).is_err());
    assert_eq!(stored()?, "1,2");

    proxy.delay(Duration::from_millis(50));
    let began = Instant::now();
    insert(5)?;
    assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    proxy.delay(Duration::ZERO);

    proxy.swallow(true);
    std::thread::scope(|scope| -> Outcome {
        let swallowed = scope.spawn(|| insert(6).map_err(|error| error.to_string()));
        wait_until(|| proxy.swallowed() > 0);
        assert!(!swallowed.is_finished());
        proxy.swallow(false);
        drop(swallowed.join().map_err(|_| "a panic")??);
        Ok(())
    })?;
    assert_eq!(stored()?, "1,2,5,6");
    Ok(())
}

#[test]
fn server_and_standby_start_and_end() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let count = "SELECT count(*) FROM numbers";
    server.sql("CREATE TABLE numbers (n int)")?;
    for (n, end) in [Server::stop_at_once, Server::kill].into_iter().enumerate() {
        server.sql("INSERT INTO numbers VALUES (1)")?;
        end(&server)?;
        assert!(server.sql(count).is_err());
        server.start_again()?;
        assert_eq!(server.sql(count)?, (n + 1).to_string());
    }
    let standby = server.standby()?;
    server.sql("INSERT INTO numbers VALUES (1)")?;
    wait_until(|| standby.sql(count).is_ok_and(|count| count == "3"));
    server.kill()?;
    assert!(standby.sql("INSERT INTO numbers VALUES (1)").is_err(), "it only follows");
    standby.promote()?;
    standby.sql("INSERT INTO numbers VALUES (1)")?;
    Ok(())
}

#[test]
fn pooler_gives_any_connection() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let Some(pooler) = Pgbouncer::start(&server, 1)? else { return Ok(()) };
    let url = server.url_at(pooler.port());
    let process = || psql(&url, "SELECT pg_backend_pid()");
    assert_eq!(process()?, process()?, "one connection for all clients");
    Ok(())
}
