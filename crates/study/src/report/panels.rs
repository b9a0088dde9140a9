//! Figure 3: the image with its true box, the f32 map and the int8 map with their boxes, whose lines say which network is
//! right. PNG files, and inside the page pictures with the boxes drawn over them.

use std::fmt::Write;

use quantlens_data::RgbImage;
use quantlens_xai::cam_map;

use super::figures::file_name;
use super::gather::{Entry, PairData, Side};
use super::pictures::{Crops, Line, TRUTH, covered, jpeg, outline, sheet};
use super::svg::{escape, number};
use crate::Error;

/// JPEG quality of the panels inside the page.
const QUALITY: u8 = 85;

/// Figure 3 of a pair.
pub(super) struct Panels {
    /// Name of the PNG file, without the ending.
    pub file: String,
    name: String,
    rows: Vec<Row>,
}

struct Row {
    caption: String,
    pictures: [RgbImage; 3],
    /// For each picture its text and the boxes over it.
    texts: [String; 3],
    boxes: [Vec<([f64; 4], Option<bool>)>; 3],
}

/// What a class is called.
pub(super) type ClassName<'a> = &'a dyn Fn(u32) -> String;

impl Panels {
    /// Of the pair's chosen images that can (still) be read.
    pub fn new(number: usize, name: &str, data: &PairData, crops: &Crops<'_>, class: ClassName<'_>) -> Self {
        let rows = data.panels.iter().filter_map(|e| Some(Row::new(e, crops.read(number, e.place)?, class)));
        Self { file: file_name("figure-3", number, name), name: name.into(), rows: rows.collect() }
    }

    /// The file's picture; none without an image.
    pub fn sheet(&self) -> Option<RgbImage> {
        let drawn = |row: &Row| {
            let mut pictures = row.pictures.clone();
            for (which, (picture, boxes)) in pictures.iter_mut().zip(&row.boxes).enumerate() {
                boxes
                    .iter()
                    .for_each(|(b, right)| outline(picture, *b, if which == 0 { TRUTH } else { Line::of(*right) }));
            }
            pictures
        };
        sheet(&self.rows.iter().map(drawn).collect::<Vec<_>>())
    }

    /// The figure inside the page.
    pub fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let rows: String = self.rows.iter().map(Row::html).collect();
        format!(
            "<figure id=\"{}\" class=\"panels\">\n<h3>Figure 3. Maps and boxes, {}</h3>\n{rows}<figcaption>{}</figcaption>\n</figure>\n",
            escape(&self.file),
            escape(&self.name),
            "Of each kind of outcome in the subset, the image whose maps differ most. Left: the network's input with its true \
             boxes. Middle and right: the f32 and the int8 map, half over the picture, and the box each predicts. \
             <span class=\"right\">Solid blue: that network's class is right</span>; \
             <span class=\"wrong\">dashed orange: it is wrong</span>; white: there is no label. Maps: dark violet is 0, yellow is 1."
        )
    }

    /// What the file shows, a line a row of pictures.
    pub fn text(&self) -> String {
        let mut out = format!("{}.png: image | f32 | int8\n", self.file);
        for row in &self.rows {
            // A line a row, whatever a file is called.
            let _ = writeln!(out, "  {} | {}", row.caption.replace(char::is_control, " "), row.texts.join(" | "));
        }
        out
    }
}

impl Row {
    fn new(entry: &Entry, picture: RgbImage, class: ClassName<'_>) -> Self {
        let size = [picture.height() as usize, picture.width() as usize];
        let map = |side: &Side| covered(&picture, &cam_map(&side.signed(), side.map[0], side.map[1], size[0], size[1]));
        let text = |precision: &str, side: &Side| {
            let mark = side.right.map_or("", |right| if right { "right: " } else { "wrong: " });
            let name = side.predicted.map_or_else(|| "no class".into(), class);
            let iou = side.iou.map(|iou| format!(", IoU {iou:.2}")).unwrap_or_default();
            format!("{precision} {mark}{name}, {:.1} %{iou}", 100.0 * side.probability)
        };
        let [f32, int8] = &entry.sides;
        let truth = entry.true_class.map_or_else(|| "image".into(), |c| format!("true class: {}", class(c)));
        let boxes = |side: &Side| side.found.map(|b| (b.corners(), side.right)).into_iter().collect();
        let d = entry.difference;
        let flipped = if d.flipped { ", flipped" } else { "" };
        Self {
            caption: format!(
                "{}: {}, RMSE {:.1}, aligned {:.1}{flipped}",
                entry.outcome.text(),
                entry.id,
                d.rmse,
                d.rmse_aligned
            ),
            texts: [truth, text("f32", f32), text("int8", int8)],
            boxes: [entry.boxes.iter().map(|b| (*b, None)).collect(), boxes(f32), boxes(int8)],
            pictures: [picture.clone(), map(f32), map(int8)],
        }
    }

    fn html(&self) -> String {
        let mut out = format!("<div class=\"row\">\n<p>{}</p>\n<div class=\"three\">\n", escape(&self.caption));
        for ((picture, text), boxes) in self.pictures.iter().zip(&self.texts).zip(&self.boxes) {
            let (w, h) = picture.dimensions();
            let _ = writeln!(
                out,
                "<div><svg xmlns=\"http://www.w3.org/2000/svg\" class=\"panel\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\">",
                escape(text)
            );
            // A picture that cannot be encoded leaves an empty panel with its boxes.
            if let Ok::<_, Error>(jpeg) = jpeg(picture, QUALITY) {
                let _ = writeln!(out, "<image href=\"data:image/jpeg;base64,{jpeg}\" width=\"{w}\" height=\"{h}\"/>");
            }
            for (b, right) in boxes {
                out += &rectangle(*b, *right);
            }
            let _ = writeln!(out, "</svg><p>{}</p></div>", escape(text));
        }
        out + "</div>\n</div>\n"
    }
}

/// A box as two rectangles: a dark line under the coloured one, so that it shows on any picture.
fn rectangle([x0, y0, x1, y1]: [f64; 4], right: Option<bool>) -> String {
    let at = format!(
        "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
        number(x0 + 1.0),
        number(y0 + 1.0),
        number((x1 - x0 - 2.0).max(0.0)),
        number((y1 - y0 - 2.0).max(0.0))
    );
    let class = right.map_or("plain", |right| if right { "right" } else { "wrong" });
    format!("<rect class=\"under\" {at}/><rect class=\"{class}\" {at}/>\n")
}
