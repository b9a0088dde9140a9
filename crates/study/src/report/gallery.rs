//! The gallery's data: the most different pairs of maps as JSON, with the input crops as JPEG. What the page's sliders show
//! is computed in the page, from the CAM vectors.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gather::{Entry, Outcome, PairData, Side, Turned};
use super::panels::ClassName;
use super::pictures::{Colours, Crops, GREY, INFERNO, VIRIDIS, jpeg};
use crate::Error;
use crate::progress::Progress;
use crate::summary::{Summary, SummaryOptions};

/// Everything the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    /// Height and width of the maps.
    size: [usize; 2],
    signs: String,
    threshold: String,
    /// `contour` or `pixels`.
    rule: &'static str,
    networks: Vec<&'a str>,
    colours: BTreeMap<&'static str, Colours>,
    entries: Vec<Item<'a>>,
    /// JPEG in base 64.
    images: &'a [String],
}

/// An image and pair.
#[derive(Serialize)]
struct Item<'a> {
    network: usize,
    id: &'a str,
    image: Option<usize>,
    outcome: &'static str,
    truth: Option<String>,
    boxes: &'a [[f64; 4]],
    rmse: f64,
    aligned: f64,
    flipped: bool,
    sides: [ItemSide<'a>; 2],
}

/// One network of it.
#[derive(Serialize)]
struct ItemSide<'a> {
    class: Option<String>,
    probability: f32,
    right: Option<bool>,
    map: [usize; 2],
    p: &'a [f32],
    turned: Turned,
    #[serde(rename = "box")]
    found: Option<[f64; 4]>,
    iou: Option<f64>,
}

/// The pictures of the galleries, each once.
pub(super) struct Gallery {
    /// By the pair whose crops these are, and place.
    places: BTreeMap<(usize, u64), usize>,
    images: Vec<String>,
    /// Entries of each pair.
    pub count: usize,
}

impl Gallery {
    /// The first `count` images of each pair as JPEG; none where they come to more than `room` bytes.
    pub fn encode(
        data: &[PairData],
        crops: &Crops<'_>,
        count: usize,
        quality: u8,
        room: usize,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, Error> {
        let mut gallery = Self { places: BTreeMap::new(), images: Vec::new(), count };
        let mut bytes = 0;
        for (pair, data) in data.iter().enumerate() {
            for entry in data.gallery.iter().take(count) {
                let key = (crops.like(pair), entry.place);
                progress.check()?;
                if gallery.places.contains_key(&key) {
                    continue;
                }
                let Some(picture) = crops.read(pair, entry.place) else { continue };
                let jpeg = jpeg(&picture, quality)?;
                // Quotes and a comma.
                bytes += jpeg.len() + 3;
                if bytes > room {
                    return Ok(None);
                }
                gallery.places.insert(key, gallery.images.len());
                gallery.images.push(jpeg);
            }
        }
        Ok(Some(gallery))
    }

    /// A gallery of so many images a pair, without pictures: to measure the rest.
    pub fn bare(count: usize) -> Self {
        Self { places: BTreeMap::new(), images: Vec::new(), count }
    }

    /// As JSON that can stand inside a `script` element.
    pub fn json(
        &self,
        data: &[PairData],
        summary: &Summary,
        options: &SummaryOptions,
        crops: &Crops<'_>,
        class: &dyn Fn(usize, u32) -> String,
    ) -> String {
        let mut entries = Vec::new();
        for (pair, data) in data.iter().enumerate() {
            let name = |c: u32| class(pair, c);
            for entry in data.gallery.iter().take(self.count) {
                let image = self.places.get(&(crops.like(pair), entry.place)).copied();
                entries.push(item(pair, entry, image, &name));
            }
        }
        let all = Data {
            size: summary.data.input_size,
            signs: summary.signs.clone(),
            threshold: options.threshold.to_string(),
            rule: match options.boxes.rule {
                quantlens_xai::BoxRule::MostPixels => "pixels",
                _ => "contour",
            },
            networks: summary.pairs.iter().map(|p| p.settings.name.as_str()).collect(),
            colours: BTreeMap::from([("viridis", VIRIDIS), ("inferno", INFERNO), ("grey", GREY)]),
            entries,
            images: &self.images,
        };
        // Numbers, text and lists: nothing in it can fail to become JSON.
        inside_script(&serde_json::to_string(&all).unwrap_or_default())
    }
}

/// JSON without a character that could end a `script` element or begin a comment in one: inside JSON, `<` only stands in
/// text.
fn inside_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn item<'a>(network: usize, entry: &'a Entry, image: Option<usize>, class: ClassName<'_>) -> Item<'a> {
    let side = |s: &'a Side| ItemSide {
        class: s.predicted.map(class),
        probability: s.probability,
        right: s.right,
        map: s.map,
        p: &s.p,
        turned: s.turned,
        found: s.found.map(|b| b.corners()),
        iou: s.iou,
    };
    Item {
        network,
        id: &entry.id,
        image,
        outcome: match entry.outcome {
            Outcome::BothRight => "both",
            Outcome::FloatAlone => "f32",
            Outcome::Int8Alone => "int8",
            Outcome::BothWrong => "neither",
            Outcome::Unlabelled => "unlabelled",
        },
        truth: entry.true_class.map(class),
        boxes: &entry.boxes,
        rmse: entry.difference.rmse,
        aligned: entry.difference.rmse_aligned,
        flipped: entry.difference.flipped,
        sides: [side(&entry.sides[0]), side(&entry.sides[1])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_end_its_script() {
        let text = serde_json::to_string("</script><!--\u{2028}\"").unwrap();
        let safe = inside_script(&text);
        assert_eq!(safe, "\"\\u003c/script>\\u003c!--\\u2028\\\"\"");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!--\u{2028}\"");
    }
}
