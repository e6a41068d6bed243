//! Bars, as SVG. Pure.

/// Bars beside each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) label: String,
    /// Who, and how much.
    pub(super) bars: Vec<(String, f64)>,
}

const WIDTH: f64 = 760.0;
/// Names stand left of the bars, figures right of them.
const NAMES: f64 = 120.0;
const FIGURES: f64 = 70.0;
const BAR: f64 = 18.0;
const LINE: f64 = 24.0;
const OURS: &str = "#d9480f";
const THEIRS: &str = "#7a8794";

/// A bar's length is its share of the longest one of its group.
pub(super) fn picture(title: &str, groups: &[Group]) -> String {
    let mut y = 30.0;
    let mut body = text(10.0, 20.0, "start", "bold", title);
    for group in groups {
        y += LINE;
        body += &text(10.0, y - 8.0, "start", "normal", &group.label);
        let longest = group.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (name, value) in &group.bars {
            let length = (WIDTH - NAMES - FIGURES) * (value / longest).max(0.0);
            let color = if name.starts_with("wasmesh") { OURS } else { THEIRS };
            body += &format!(
                "<rect x=\"{NAMES}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\n"
            );
            body += &text(NAMES - 6.0, y + 13.0, "end", "normal", name);
            body += &text(NAMES + length + 6.0, y + 13.0, "start", "normal", &figure(*value));
            y += LINE;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{0:.0}\" viewBox=\"0 0 {WIDTH} {0:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n",
        y + 10.0
    )
}

fn text(x: f64, y: f64, anchor: &str, weight: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" fill=\"#20262d\">{text}</text>\n"
    )
}

/// Three digits say enough.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Group, figure, picture};

    #[test]
    fn the_longest_bar_has_all_the_room_and_others_their_share() {
        let bars = vec![("wasmesh".to_owned(), 5.0), ("a<b".to_owned(), 10.0)];
        let svg = picture("CPU", &[Group { label: "32".to_owned(), bars }]);
        assert!(svg.contains("width=\"570.0\"") && svg.contains("width=\"285.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"), "{svg}");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([figure(1234.5), figure(14.25), figure(1.234)], ["1234", "14.2", "1.23"]);
    }
}
