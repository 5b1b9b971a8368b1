//! Progress on a terminal: bars and spinners.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use mnemon::{Progress, StoreBuilder};
use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A bar on standard error, with how many there are a second and the time that is left; nothing where that is no
/// terminal.
pub fn bar(length: usize, doing: &'static str) -> ProgressBar {
    ticking(ProgressBar::new(length as u64).with_message(doing).with_style(measured()))
}

/// A bar of so much time, in milliseconds.
pub fn clock(length: Duration, doing: &'static str) -> ProgressBar {
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    ProgressBar::new(length).with_message(doing).with_style(style("{msg} [{wide_bar}] {percent}% {eta}"))
}

/// Something that moves on standard error while work of unknown length goes on, with the time that has passed; nothing
/// where that is no terminal.
fn spinner(doing: impl Into<Cow<'static, str>>) -> ProgressBar {
    ticking(ProgressBar::new_spinner().with_message(doing).with_style(unmeasured()))
}

/// Does it, with something that moves meanwhile.
pub fn while_spinning<T>(doing: impl Into<Cow<'static, str>>, work: impl FnOnce() -> T) -> T {
    let spinner = spinner(doing);
    let done = work();
    spinner.finish_and_clear();
    done
}

/// For the library to tell how far it has come: a bar where it knows how much there is, otherwise a spinner.
pub fn follow() -> (ProgressBar, impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) {
    let (bar, told) = (spinner(""), Mutex::new(""));
    let shown = bar.clone();
    let tell = move |Progress { step, done, total, .. }: Progress| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != step {
            *told = step;
            shown.reset();
            shown.set_message(step);
            shown.set_style(if total == 0 { unmeasured() } else { measured() });
        }
        shown.set_length(total);
        shown.set_position(done);
        interrupt::flow()
    };
    (bar, tell)
}

/// Opens a store, with a bar of the rows that are read. What an interruption means then, its command says afterwards.
pub fn while_reading<T>(builder: StoreBuilder, open: impl FnOnce(StoreBuilder) -> T) -> T {
    let (bar, tell) = follow();
    bar.set_message("opening the store");
    let builder = builder.on_progress(move |progress| {
        let _ = tell(progress);
        ControlFlow::Continue(())
    });
    let opened = open(builder);
    bar.finish_and_clear();
    opened
}

/// Drawn anew also while nothing is counted, so that time is seen to pass.
fn ticking(bar: ProgressBar) -> ProgressBar {
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// In 40 columns too.
fn measured() -> ProgressStyle {
    style("{msg} [{wide_bar}] {percent}% {rate} {eta}").with_key(
        "rate",
        |state: &ProgressState, out: &mut dyn fmt::Write| {
            // It can't fail: it writes to a string.
            let _ = write!(out, "{}/s", rounded(state.per_sec()));
        },
    )
}

fn unmeasured() -> ProgressStyle {
    style("{spinner} {msg} {elapsed}")
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Three digits at most: `999`, `12.3k`, `4.56M`.
fn rounded(number: f64) -> String {
    let (value, unit) = match number {
        ..1e3 => return format!("{number:.0}"),
        ..1e6 => (number / 1e3, "k"),
        ..1e9 => (number / 1e6, "M"),
        _ => (number / 1e9, "G"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::{measured, rounded, unmeasured};
    use crate::text::width;
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    /// A terminal of 40 columns, and what was written to it.
    #[derive(Clone, Debug, Default)]
    struct Narrow(Arc<Mutex<String>>);

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            40
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(&format!("{line}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(style: ProgressStyle, doing: &'static str) -> String {
        let terminal = Narrow::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bar =
            ProgressBar::with_draw_target(Some(1_500_000), target).with_style(style).with_message(doing);
        bar.set_position(750_000);
        terminal.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        bar.force_draw();
        let text = terminal.0.lock().unwrap_or_else(PoisonError::into_inner).trim_end().to_owned();
        bar.abandon();
        text
    }

    #[test]
    fn a_bar_has_its_rate_and_the_time_left_in_40_columns() {
        for doing in ["storing", "checking pages", "reading the store"] {
            let line = shown(measured(), doing);
            assert!(width(&line) <= 40, "{line}");
            assert!(line.starts_with(&format!("{doing} [")) && line.contains("] 50% "), "{line}");
            assert!(line.contains("/s ") && line.ends_with('s'), "a rate, and seconds: {line}");
            let line = shown(unmeasured(), doing);
            assert!(width(&line) <= 40 && line.contains(doing), "{line}");
        }
    }

    #[test]
    fn a_rate_has_three_digits_at_most_and_its_unit() {
        let rates = [0.0, 7.4, 999.4, 1_000.0, 45_678.0, 999_400.0, 3_456_789.0, 123_456_789.0];
        assert_eq!(rates.map(rounded), ["0", "7", "999", "1.00k", "45.7k", "999k", "3.46M", "123M"]);
    }
}
