//! Lines over time, as SVG. Pure.

use std::fmt::Write;

/// Lines that share their axes.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) series: Vec<Series>,
}

/// One line.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 150.0;
const GAP: f64 = 46.0;
/// Figures stand left of the lines, names right of them.
const FIGURES: f64 = 50.0;
const NAMES: f64 = 110.0;
const COLORS: [&str; 2] = ["#d9480f", "#1c6fb5"];

/// Panels below each other, all of them from zero, so that a small change looks small.
pub(crate) fn picture(panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut top = 20.0;
    for panel in panels {
        top += 20.0;
        body += &text(FIGURES, top - 8.0, "start", panel.title);
        let points = || panel.series.iter().flat_map(|series| &series.points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let (x_most, y_most) = (most(|point| point.0), most(|point| point.1));
        let x = |value: f64| FIGURES + value / x_most * (WIDTH - FIGURES - NAMES);
        let y = |value: f64| top + HEIGHT * (1.0 - value / y_most);
        for (value, place) in [(0.0, top + HEIGHT), (y_most, top)] {
            body += &text(FIGURES - 6.0, place + 4.0, "end", &format!("{value:.0}"));
            let _ = writeln!(body, "<path d=\"M{FIGURES} {place:.0}H{:.0}\" stroke=\"#c8ced6\"/>", WIDTH - NAMES);
        }
        body += &text(WIDTH - NAMES, top + HEIGHT + 16.0, "end", &format!("{x_most:.0}"));
        for (series, color) in panel.series.iter().zip(COLORS) {
            let line: Vec<_> =
                series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let line = line.join(" ");
            let _ =
                writeln!(body, "<polyline points=\"{line}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>");
            let end = series.points.last().map_or(top, |point| y(point.1));
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{end:.0}\" fill=\"{color}\">{}</text>",
                WIDTH - NAMES + 6.0,
                series.name
            );
        }
        top += HEIGHT + GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top:.0}\" viewBox=\"0 0 {WIDTH} {top:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" fill=\"#20262d\">{text}</text>\n")
}
