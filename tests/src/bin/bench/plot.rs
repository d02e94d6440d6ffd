//! The plot of cost against rows, as SVG: microseconds per row of each stage, which must be flat.

use crate::report::CYCLE;
use serde::Serialize;
use std::fmt::Write;

/// One size: rows, and by stage the seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Size {
    pub rows: u64,
    pub stages: Vec<(&'static str, f64)>,
    /// All of the cycle.
    pub seconds: f64,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 52.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e5ea2", "#c77700", "#222222"];
/// Opening is a matter of files, not of rows.
const SHOWN: [&str; 5] = ["load", "mark", "validate", "insert", "verify"];

impl Size {
    fn micros_per_row(&self, stage: &str) -> f64 {
        let seconds = match stage {
            "all" => self.seconds,
            stage => self.stages.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, seconds)| *seconds),
        };
        seconds * 1e6 / self.rows as f64
    }
}

/// The next of 1, 2, 5, 10, 20 ... that divides the axis into at most six parts.
fn step_of(most: f64) -> f64 {
    let least = most / 6.0;
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

/// `note`: what it was measured on, and when.
pub(crate) fn svg(sizes: &[Size], note: &str) -> String {
    let most_rows = sizes.iter().map(|size| size.rows as f64).fold(1.0, f64::max);
    let most = sizes.iter().map(|size| size.micros_per_row("all")).fold(0.1, f64::max);
    let step = step_of(most);
    let ceiling = (most / step).ceil() * step;
    let x = |rows: f64| LEFT + (WIDTH - LEFT - RIGHT) * rows / most_rows;
    let y = |micros: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * micros / ceiling;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\">Microseconds per row, by rows of the import</text>\n\
         <text x=\"{LEFT}\" y=\"40\" fill=\"#555\" font-size=\"11\">{}</text>\n",
        escaped(note)
    );
    for n in 0..=(ceiling / step).round() as u64 {
        let micros = n as f64 * step;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(micros) + 4.0,
            (micros * 100.0).round() / 100.0,
            y = y(micros)
        );
    }
    for size in sizes {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(size.rows as f64),
            HEIGHT - BOTTOM + 18.0,
            millions(size.rows)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">million rows</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    // Labels stand beside the last points, from the top down and apart from each other.
    let mut lines: Vec<_> = SHOWN.iter().chain(&["all"]).zip(COLOURS).collect();
    let last = |stage: &str| sizes.last().map_or(0.0, |size| size.micros_per_row(stage));
    lines.sort_by(|a, b| last(b.0).total_cmp(&last(a.0)));
    let mut label_at = f64::MIN;
    for (stage, colour) in lines {
        let points: Vec<(f64, f64)> =
            sizes.iter().map(|size| (x(size.rows as f64), y(size.micros_per_row(stage)))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        label_at = (y(last(stage)) + 4.0).max(label_at + 16.0);
        let name = if stage == &"all" { "all six stages" } else { stage };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{label_at:.1}\" fill=\"{colour}\">{name} {:.2}</text>",
            WIDTH - RIGHT + 12.0,
            last(stage)
        );
    }
    out + "</svg>\n"
}

/// `15520410` as `15.5`.
fn millions(rows: u64) -> String {
    let tenths = (rows as f64 / 1e5).round() / 10.0;
    if rows < 1_000_000 { format!("{:.2}", rows as f64 / 1e6) } else { tenths.to_string() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What the plot shows, as a table.
pub(crate) fn print(sizes: &[Size]) {
    println!(
        "\nmicroseconds per row\n{:>10} {}{:>10}",
        "rows",
        CYCLE.map(|it| format!("{it:>10}")).join(""),
        "all"
    );
    for size in sizes {
        let stages = CYCLE.map(|stage| format!("{:>10.2}", size.micros_per_row(stage)));
        println!(
            "{:>10} {}{:>10.2}",
            xtask::generate::grouped(size.rows),
            stages.join(""),
            size.micros_per_row("all")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_draws_each_stage_within_its_frame() {
        let size = |rows: u64| Size {
            rows,
            stages: CYCLE.map(|stage| (stage, rows as f64 * 2e-6)).to_vec(),
            seconds: rows as f64 * 12e-6,
        };
        let drawn = svg(&[size(1_000_000), size(15_520_410)], "2 cores & more");
        assert_eq!(drawn.matches("<polyline").count(), SHOWN.len() + 1);
        assert!(drawn.contains("2 cores &amp; more") && drawn.contains(">15.5<") && drawn.contains(">1<"));
        assert_eq!(step_of(12.0), 2.0);
        assert_eq!(step_of(31.0), 10.0);
    }
}
