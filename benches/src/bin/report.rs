//! From figures to pages: `report FIGURES.jsonl "machine and date"` writes `src/guide/performance.md` with its plots,
//! `benches/plots/*.svg`, and the table of the README, [`HEADLINES`], between the marks `<!-- figures -->` and
//! `<!-- end -->`.
//!
//! Why a target was missed is told in `benches/missed.md`, by hand. Of figures that were said more than once, in several
//! runs of the benchmarks, the median counts (of two the worse), and the lowest and the highest are told.

use benches::Outcome;
use benches::figures::{Better, Figure};
use benches::maps::Dash;
use plotters::prelude::*;
use std::fmt::Write;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

const SIZE: (u32, u32) = (640, 320);

/// A row of the README's table: a figure, and what a reader should conclude from it.
struct Headline {
    question: &'static str,
    bench: &'static str,
    case: &'static str,
    metric: &'static str,
    peer: Option<&'static str>,
    /// The conclusion, which holds while the ratio, or the value of a figure without a peer, is within `holds`.
    conclusion: &'static str,
    holds: (f64, f64),
}

const fn headline(
    question: &'static str,
    figure: (&'static str, &'static str, &'static str, Option<&'static str>),
    conclusion: &'static str,
    holds: (f64, f64),
) -> Headline {
    let (bench, case, metric, peer) = figure;
    Headline { question, bench, case, metric, peer, conclusion, holds }
}

const HEADLINES: [Headline; 10] = [
    headline(
        "`get`",
        ("throughput", "get, of 100000", "time", Some(Dash::ALIKE)),
        "A read costs less than two reads of a bare concurrent map.",
        (0.0, 2.0),
    ),
    headline(
        "`update` of a number",
        ("throughput", "update of a number, of 100000", "time", Some(Dash::ALIKE)),
        "An update costs one to three updates of a bare map.",
        (0.0, 3.0),
    ),
    headline(
        "p99.9 of a write while the flusher never rests",
        (
            "writer_stall",
            "flusher without rest, cold keys, 1 threads",
            "p99.9",
            Some("the same, flusher idle"),
        ),
        "Writers do not notice the flusher.",
        (0.0, 1.5),
    ),
    headline(
        "p99.9 of a write while the disk hangs",
        ("writer_stall", "disk stalled, cold keys, 1 threads", "p99.9", Some("the same, flusher idle")),
        "Writers do not notice the disk.",
        (0.0, 1.5),
    ),
    headline(
        "a write, durable within a second",
        ("writer_stall", "write, durable soon", "mean", Some("a put of SQLite write-through")),
        "Writing behind is more than ten times as fast as writing through SQLite.",
        (10.0, f64::MAX),
    ),
    headline(
        "a flush of 500 changed numbers of 100,000",
        ("flush_cost", "500 numbers of 100000", "time", Some("plain SQL")),
        "A flush costs about what SQLite takes for the same rows.",
        (0.0, 1.5),
    ),
    headline(
        "a flush of 500 changed numbers of 1,000,000",
        ("flush_cost", "500 numbers of 1000000", "time", Some("plain SQL")),
        "It does so however much the store holds.",
        (0.0, 1.5),
    ),
    headline(
        "a flush of 500, times faster",
        ("flush_cost", "500 numbers of 100000", "times faster", Some("the original, repaired")),
        "The stall that this crate was written for is gone.",
        (100.0, f64::MAX),
    ),
    headline(
        "opening a file of 100,000 traces",
        ("load", "100000 traces", "time", Some("SELECT and DashMap insert")),
        "Opening takes about as long as reading the rows into a map.",
        (0.0, 1.2),
    ),
    headline(
        "memory beyond the payload, 1,000,000 traces",
        ("memory", "1000000 traces, stored", "beyond payload", None),
        "Plan for 400 to 800 bytes a trace, and the payload.",
        (0.0, 400.0),
    ),
];

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [file, machine] = &arguments[..] else {
        return Err("usage: report FIGURES.jsonl \"machine and date\"".into());
    };
    let figures = read(Path::new(file))?;
    let targets = format!("Measured on {machine}.\n\n{}", targets(&figures));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let plots = root.join("benches/plots");
    fs::create_dir_all(&plots)?;
    let mut page = format!(
        "What the store costs, compared with what one would use instead. Both sides of a ratio take turns in one run. Of two runs the \
         worse counts, of more the median; the lowest and the highest are in parentheses. Made by the benchmarks: see `benches/README.md`.\n\n# Targets\n\n{targets}\n{}",
        fs::read_to_string(root.join("benches/missed.md"))?
    );
    for plot in [flush(&figures, &plots)?, latency(&figures, &plots)?, throughput(&figures, &plots)?] {
        // Indented, or with empty lines, Markdown would take it for something else.
        let picture: String = fs::read_to_string(plot)?.lines().map(str::trim).collect();
        write!(page, "\n{picture}\n")?;
    }
    write!(page, "\n# All figures\n\nOf {machine}.\n")?;
    for bench in names(&figures) {
        write!(page, "\n## {bench}\n\n{}", table(figures.iter().filter(|figure| figure.bench == bench)))?;
    }
    fs::write(root.join("src/guide/performance.md"), page)?;
    readme(&root.join("README.md"), &format!("Measured on {machine}.\n\n{}", headlines(&figures)?))
}

/// The rows of the README's table. A conclusion that its figure does not bear out is an error.
fn headlines(figures: &[Measured]) -> Outcome<String> {
    let mut text =
        "| question | measured | compared with | ratio | conclusion |\n|---|---|---|---|---|\n".to_owned();
    for row in HEADLINES {
        let is_it = |figure: &&Measured| {
            (&*figure.bench, &*figure.case, &*figure.metric, figure.peer.as_deref())
                == (row.bench, row.case, row.metric, row.peer)
        };
        let figure = figures.iter().find(is_it).ok_or_else(|| format!("no figure of {}", row.question))?;
        let (low, high) = row.holds;
        if !(low..=high).contains(&figure.measured()) {
            return Err(format!(
                "{}: {} is not between {low} and {high}: say what is true of it",
                row.question,
                figure.measured()
            )
            .into());
        }
        let peer = row.peer.unwrap_or_default();
        writeln!(
            text,
            "| {} | {} | {peer} | {} | {} |",
            row.question,
            value(figure),
            ratio(figure),
            row.conclusion
        )?;
    }
    Ok(text)
}

/// A figure, with the lowest and the highest of what is held against its target.
struct Measured {
    figure: Figure,
    range: Option<(f64, f64)>,
}

impl Measured {
    /// The median of several runs, of two the worse.
    fn of(mut runs: Vec<Figure>) -> Option<Self> {
        runs.sort_by(|one, other| one.measured().total_cmp(&other.measured()));
        let range = (runs.len() > 1).then_some((runs.first()?.measured(), runs.last()?.measured()));
        if runs.first()?.better == Better::More {
            runs.reverse();
        }
        let middle = runs.len() / 2;
        Some(Self { figure: runs.swap_remove(middle), range })
    }
}

impl Deref for Measured {
    type Target = Figure;

    fn deref(&self) -> &Figure {
        &self.figure
    }
}

fn read(file: &Path) -> Outcome<Vec<Measured>> {
    let mut figures: Vec<Vec<Figure>> = Vec::new();
    for line in fs::read_to_string(file)?.lines() {
        let figure: Figure = serde_json::from_str(line)?;
        match figures.iter_mut().find(|runs| runs[0].is_the_same_as(&figure)) {
            Some(runs) => runs.push(figure),
            None => figures.push(vec![figure]),
        }
    }
    Ok(figures.into_iter().filter_map(Measured::of).collect())
}

fn names(figures: &[Measured]) -> Vec<&str> {
    let mut names: Vec<_> = figures.iter().map(|figure| &*figure.bench).collect();
    names.dedup();
    names
}

fn targets(figures: &[Measured]) -> String {
    let mut text =
        "| what | measured | compared with | ratio | target | |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let Some(target) = figure.target else { continue };
        let sign = if figure.better == Better::Less { "≤" } else { "≥" };
        text += &format!(
            "| {}: {}, {} | {} | {} | {} | {sign} {target} | {} |\n",
            figure.bench,
            figure.case,
            figure.metric,
            value(figure),
            figure.peer.as_deref().unwrap_or(""),
            ratio(figure),
            if figure.is_met() == Some(true) { "met" } else { "**missed**" },
        );
    }
    text
}

fn table<'a>(figures: impl Iterator<Item = &'a Measured>) -> String {
    let mut text = "| case | metric | measured | compared with | ratio |\n|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            figure.case,
            figure.metric,
            value(figure),
            figure.peer.as_deref().unwrap_or(""),
            ratio(figure)
        );
    }
    text
}

fn value(figure: &Measured) -> String {
    let digits = match figure.value.abs() {
        1_000.0.. => 0,
        10.0.. => 1,
        _ => 3,
    };
    let range = match (figure.ratio, figure.range) {
        (None, Some((lowest, highest))) => format!(" ({lowest:.digits$} to {highest:.digits$})"),
        _ => String::new(),
    };
    format!("{:.digits$} {}{range}", figure.value, figure.unit)
}

fn ratio(figure: &Measured) -> String {
    let Some(ratio) = figure.ratio else { return String::new() };
    match figure.range {
        Some((lowest, highest)) => format!("{ratio:.2} ({lowest:.2} to {highest:.2})"),
        None => format!("{ratio:.2}"),
    }
}

/// A line of a plot: its name and its points.
type Series = (String, Vec<(f64, f64)>);

fn draw(path: PathBuf, title: &str, (x, y): (&str, &str), series: &[Series]) -> Outcome<PathBuf> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(0.0, f64::max);
        if low.is_finite() { low / 1.3..high * 1.3 } else { 1.0..10.0 }
    };
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(range(|point| point.0).log_scale(), range(|point| point.1).log_scale())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    for (at, (name, points)) in series.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(path)
}

fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => value.to_string(),
    }
}

/// The number that comes after a word, as in "of 10000".
fn number_after(case: &str, word: &str) -> Option<f64> {
    case.split_once(word)?.1.split([' ', ',']).next()?.parse().ok()
}

fn flush(figures: &[Measured], plots: &Path) -> Outcome<PathBuf> {
    let of = |name: &str, changed: &str| -> Series {
        let cases = figures.iter().filter(|figure| {
            figure.bench == "flush_cost"
                && figure.metric == "time"
                && figure.case.starts_with(&format!("{changed} {name} of "))
                && !figure.case.ends_with("flat")
        });
        let points = cases.filter_map(|figure| Some((number_after(&figure.case, " of ")?, figure.value)));
        (format!("{changed} {name}"), points.collect())
    };
    let series = [of("numbers", "1"), of("numbers", "500"), of("whole rows", "500"), of("numbers", "10000")];
    draw(
        plots.join("flush.svg"),
        "A flush costs what changed",
        ("traces in the store", "milliseconds"),
        &series,
    )
}

fn latency(figures: &[Measured], plots: &Path) -> Outcome<PathBuf> {
    let quantiles = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];
    let of = |name: &str, case: &str, theirs: bool| -> Series {
        let points = quantiles.iter().filter_map(|(metric, quantile)| {
            let found = figures.iter().find(|figure| figure.case == case && figure.metric == *metric)?;
            let value = if theirs { found.value / found.ratio? } else { found.value };
            Some((1.0 / (1.0 - quantile / 100.0), value))
        });
        (name.to_owned(), points.collect())
    };
    let busy = "flusher without rest, cold keys, 1 threads";
    let series = [
        of("flusher idle", busy, true),
        of("flusher without rest", busy, false),
        of("disk stalled", "disk stalled, cold keys, 1 threads", false),
        of("one mutex, serializing inside", "one mutex, serializing inside, 1 threads", false),
    ];
    let axes = ("one write of so many is slower", "nanoseconds");
    draw(plots.join("latency.svg"), "Writes do not notice the flusher or the disk", axes, &series)
}

fn throughput(figures: &[Measured], plots: &Path) -> Outcome<PathBuf> {
    let cases = || {
        figures
            .iter()
            .filter(|figure| figure.metric == "operations" && figure.case.starts_with("mixed 95/5, uniform"))
    };
    let threads = |figure: &Measured| number_after(&figure.case, "uniform, ");
    let mut series = vec![(
        "mnemon".to_owned(),
        cases()
            .filter(|figure| figure.peer.as_deref() == Some("DashMap"))
            .filter_map(|figure| Some((threads(figure)?, figure.value)))
            .collect(),
    )];
    for peer in ["DashMap", "papaya", "scc", "moka"] {
        let points = cases()
            .filter(|figure| figure.peer.as_deref() == Some(peer))
            .filter_map(|figure| Some((threads(figure)?, figure.value / figure.ratio?)));
        series.push((peer.to_owned(), points.collect()));
    }
    let axes = ("threads", "operations a second");
    draw(plots.join("throughput.svg"), "95 % reads, 5 % writes", axes, &series)
}

fn readme(path: &Path, figures: &str) -> Outcome {
    const MARKS: (&str, &str) = ("<!-- figures -->", "<!-- end -->");
    let text = fs::read_to_string(path)?;
    let (before, rest) = text.split_once(MARKS.0).ok_or("the README has no mark for figures")?;
    let (_, after) = rest.split_once(MARKS.1).ok_or("the README has no mark where figures end")?;
    fs::write(path, format!("{before}{}\n\n{figures}\n{}{after}", MARKS.0, MARKS.1))?;
    Ok(())
}
