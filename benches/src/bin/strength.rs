//! The picture of fading: `strength` writes `benches/plots/strength.svg` and puts it into `src/guide/memory.md`, between the
//! marks `<!-- strength -->` and `<!-- end -->`; `strength --check` says whether both are as they would be written.
//!
//! Each point is what a store answers for a trace of that type at that time, by a clock that is moved.

use benches::Outcome;
use mnemon::{DecayCurve, ManualClock, NewTrace, TraceStore, TraceType};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

const SIZE: (u32, u32) = (760, 340);
const MARKS: (&str, &str) = ("<!-- strength -->", "<!-- end -->");
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// In minutes: from one to a year.
const TIME: Range<f64> = 1.0..525_600.0;
const TICKS: [(f64, &str); 5] =
    [(1.0, "1 min"), (60.0, "1 h"), (1_440.0, "1 day"), (43_200.0, "30 days"), (525_600.0, "1 year")];
const POINTS: i32 = 120;
/// One for each type, which people who see fewer colours can tell apart: Okabe and Ito, "Color Universal Design", 2008.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => return Err("usage: strength [--check]".into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let picture = picture()?;
    let page = fs::read_to_string(root.join("src/guide/memory.md"))?;
    let page = with_picture(&page, &picture)?;
    for (file, text) in [("benches/plots/strength.svg", picture), ("src/guide/memory.md", page)] {
        let path = root.join(file);
        if !is_check {
            fs::write(path, text)?;
        } else if fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))? != text {
            return Err(format!("{file} is not as `cargo run -p benches --bin strength` writes it").into());
        }
    }
    Ok(())
}

/// The page with the picture in its place. Indented, or with empty lines, Markdown would take it for something else.
fn with_picture(page: &str, picture: &str) -> Outcome<String> {
    let (before, rest) = page.split_once(MARKS.0).ok_or("the page has no mark for the picture")?;
    let (_, after) = rest.split_once(MARKS.1).ok_or("the page has no mark where the picture ends")?;
    let line: String = picture.lines().map(str::trim).collect();
    Ok(format!("{before}{}\n\n{line}\n\n{}{after}", MARKS.0, MARKS.1))
}

fn picture() -> Outcome<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (charts, names) = area.split_horizontally(SIZE.0 - 90);
    let (left, right) = charts.split_horizontally((SIZE.0 - 90) / 2);
    draw(&left, "PowerLaw", DecayCurve::PowerLaw)?;
    draw(&right, "Exponential with a half-life of a week", DecayCurve::Exponential { half_life: WEEK })?;
    for (at, (kind, color)) in (0..).zip(TraceType::ALL.iter().zip(COLORS)) {
        let y = 40 + 20 * at;
        names.draw(&PathElement::new([(4, y), (20, y)], color.stroke_width(2)))?;
        names.draw(&Text::new(kind.as_str(), (26, y - 5), ("sans-serif", 12)))?;
    }
    area.present()?;
    drop((area, charts, names, left, right));
    Ok(svg)
}

/// Strength over time for each type, on a curve.
fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, curve: DecayCurve) -> Outcome {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(40)
        .build_cartesian_2d(
            TIME.log_scale().with_key_points(TICKS.map(|(minutes, _)| minutes).into()),
            0.0..1.05,
        )?;
    let name = |at: &f64| TICKS.iter().find(|(minutes, _)| minutes == at).map_or("", |(_, name)| *name);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("time since it was last reinforced")
        .y_desc("strength")
        .y_labels(6)
        .x_label_formatter(&|minutes| name(minutes).to_owned())
        .y_label_formatter(&|strength| format!("{strength:.1}"))
        .draw()?;
    for (kind, color) in TraceType::ALL.iter().zip(COLORS) {
        chart.draw_series(LineSeries::new(fading(*kind, curve)?, color.stroke_width(2)))?;
    }
    Ok(())
}

/// Minutes and strengths of a new trace of a type.
fn fading(kind: TraceType, curve: DecayCurve) -> Outcome<Vec<(f64, f64)>> {
    let clock = ManualClock::at("2026-11-24T09:00:00Z".parse()?);
    let store = TraceStore::builder().clock(&clock).decay_curve(curve).in_memory()?;
    let id = store.insert(NewTrace::new(kind, serde_json::json!(kind.as_str())))?;
    let trace = store.get(id).ok_or("it was inserted")?;
    let minutes = |n: i32| TIME.end.powf(f64::from(n) / f64::from(POINTS));
    let made = clock.now();
    (0..=POINTS)
        .map(|n| {
            let at = made + Duration::from_secs_f64(60.0 * minutes(n));
            Ok((minutes(n), store.strength_at(&trace, at)))
        })
        .collect()
}
