//! A picture: the 99th percentile over time, and who has taken how much.

use std::fmt::Write;

use super::outcome::{Outcome, percentile_ms};

const WIDTH: f64 = 860.0;
const CHART: f64 = 240.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const BAR: f64 = 14.0;
/// Told apart by people who do not see all colours: the palette of Okabe and Ito.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// Draws all policies into one SVG. The same outcomes give the same bytes.
pub(super) fn svg(outcomes: &mut [Outcome], seconds: f64) -> String {
    let series: Vec<Vec<Option<f64>>> = outcomes
        .iter_mut()
        .map(|outcome| outcome.by_second.iter_mut().map(|second| percentile_ms(second, 99.0)).collect())
        .collect();
    let highest = series.iter().flatten().flatten().copied().fold(0.0, f64::max).max(1.0);
    let bars: usize = outcomes.iter().map(|outcome| outcome.taken.len().min(MOST_BARS) + 2).sum();
    let height = TOP + CHART + 60.0 + bars as f64 * BAR + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    text(&mut svg, LEFT, 20.0, "99th percentile of each second, ms");
    axes(&mut svg, highest, seconds);
    for (at, points) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        // A second without a good answer is a gap.
        for run in points.iter().copied().enumerate().collect::<Vec<_>>().split(|(_, value)| value.is_none()) {
            let run: String = run
                .iter()
                .filter_map(|(second, value)| Some((second, (*value)?)))
                .map(|(second, value)| {
                    let x = LEFT + (*second as f64 + 0.5) / seconds.max(1.0) * (WIDTH - LEFT - 20.0);
                    format!("{:.1},{:.1} ", x.min(WIDTH - 20.0), TOP + CHART * (1.0 - value / highest))
                })
                .collect();
            let _ =
                writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{run}\"/>");
        }
    }
    let mut y = TOP + CHART + 50.0;
    for (at, outcome) in outcomes.iter().enumerate() {
        y = loads(&mut svg, outcome, COLOURS[at % COLOURS.len()], y);
    }
    svg + "</svg>\n"
}

/// More would be no picture any more.
const MOST_BARS: usize = 32;

fn axes(svg: &mut String, highest: f64, seconds: f64) {
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let y = TOP + CHART * (1.0 - share);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>",
            WIDTH - 20.0
        );
        text(svg, 10.0, y + 4.0, &format!("{:.1}", highest * share));
        let x = LEFT + share * (WIDTH - LEFT - 20.0);
        text(svg, x - 10.0, TOP + CHART + 18.0, &format!("{:.0} s", seconds * share));
    }
}

fn loads(svg: &mut String, outcome: &Outcome, colour: &str, mut y: f64) -> f64 {
    let most = outcome.taken.iter().max().copied().unwrap_or_default().max(1);
    text(svg, LEFT, y, &format!("{}: requests by endpoint", outcome.policy));
    for (number, taken) in outcome.taken.iter().enumerate().take(MOST_BARS) {
        y += BAR;
        let width = (WIDTH - LEFT - 120.0) * *taken as f64 / most as f64;
        text(svg, 30.0, y, &number.to_string());
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"10\" fill=\"{colour}\"/>",
            y - 10.0
        );
        text(svg, LEFT + width + 6.0, y, &taken.to_string());
    }
    y + 2.0 * BAR
}

fn text(svg: &mut String, x: f64, y: f64, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
}
