//! Common parts of the benchmarks' charts.

use svg::Document;
use svg::node::element::{Rectangle, Text, Title};

/// The colour of text.
const INK: &str = "#1f2328";
/// The colour of grid lines.
pub const FAINT: &str = "#d0d7de";
/// The colour of axes and their numbers.
pub const GREY: &str = "#59636e";

/// An empty white chart.
pub fn sheet(width: f64, height: f64, title: &str) -> Document {
    let white = Rectangle::new()
        .set("width", width)
        .set("height", height)
        .set("fill", "white");
    Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .set("font-family", "Helvetica, Arial, sans-serif")
        .set("font-size", 13)
        .set("fill", INK)
        .add(Title::new(title))
        .add(white)
}

/// The title of the chart.
pub fn heading(x: f64, words: &str) -> Text {
    text(x, 26.0, words)
        .set("font-size", 16)
        .set("font-weight", "bold")
}

pub fn text(x: f64, y: f64, words: &str) -> Text {
    Text::new(words).set("x", round(x)).set("y", round(y))
}

/// Rounded to a tenth of a pixel, so that people can read the file too.
pub fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
