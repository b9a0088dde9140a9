//! ILSVRC's XML annotations: one file an image, with the picture's size and the objects' boxes.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::Sample;
use crate::{BBox, Error};

/// Adds the boxes of the annotations in `folder`. An image without a file has no boxes.
///
/// # Errors
/// A file that is no such annotation; a folder in which no image has a file.
pub fn add_xml(folder: &Path, samples: &mut [Sample]) -> Result<(), Error> {
    std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut any = false;
    for sample in samples.iter_mut() {
        let Some(path) = find(folder, &sample.id) else { continue };
        any = true;
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let (size, boxes) = parse(&text).map_err(|message| Error::dataset(&path, message))?;
        sample.box_size = Some(size);
        sample.original_size = Some(size);
        sample.boxes = boxes;
    }
    if any || samples.is_empty() {
        return Ok(());
    }
    let name =
        samples.first().map(|s| Path::new(&s.id).with_extension("xml").display().to_string()).unwrap_or_default();
    Err(Error::dataset(folder, format!("no annotation fits an image: {name} was looked for, and others like it")))
}

/// The annotation of an image: below `folder` as deep as the image lies, or directly in it.
fn find(folder: &Path, id: &str) -> Option<PathBuf> {
    let relative = Path::new(id).with_extension("xml");
    let deep = folder.join(&relative);
    if deep.is_file() {
        return Some(deep);
    }
    Some(folder.join(relative.file_name()?)).filter(|p| p.is_file())
}

/// Size (width, height) and boxes of an annotation.
fn parse(text: &str) -> Result<([u32; 2], Vec<BBox>), String> {
    let document = Document::parse(text).map_err(|e| format!("not readable as XML: {e}"))?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        return Err(format!("expected an <annotation>, found <{}>", root.tag_name().name()));
    }
    let size = child(root, "size")?;
    let size = [number(size, "width")?, number(size, "height")?];
    if size.iter().any(|v| !(1.0..=1e9).contains(v)) {
        return Err(format!("the size is {}x{}", size[0], size[1]));
    }
    let boxes = root.children().filter(|n| n.has_tag_name("object")).map(|object| {
        let b = child(object, "bndbox")?;
        BBox::checked([number(b, "xmin")?, number(b, "ymin")?, number(b, "xmax")?, number(b, "ymax")?])
    });
    Ok((size.map(|v| v as u32), boxes.collect::<Result<_, _>>()?))
}

fn child<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Result<Node<'a, 'd>, String> {
    let found = node.children().find(|n| n.has_tag_name(name));
    found.ok_or_else(|| format!("<{}> has no <{name}>", node.tag_name().name()))
}

fn number(node: Node<'_, '_>, name: &str) -> Result<f64, String> {
    let text = child(node, name)?.text().unwrap_or_default().trim();
    text.parse().map_err(|_| format!("<{name}> is `{text}`, not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_or_refused() {
        let object = "<object><name>n0</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>";
        let size = "<size><width>50</width><height>60</height><depth>3</depth></size>";
        let good = format!("<annotation><filename>x</filename>{size}{object}{object}</annotation>");
        let bbox = BBox { x0: 1.0, y0: 2.0, x1: 30.0, y1: 40.0 };
        assert_eq!(parse(&good).unwrap(), ([50, 60], vec![bbox, bbox]));
        for (text, why) in [
            ("", "not readable as XML"),
            ("<annotation>", "not readable as XML"),
            ("<html/>", "found <html>"),
            ("<annotation/>", "has no <size>"),
            (&good.replace("<width>50", "<width>0"), "the size is 0x60"),
            (&good.replace("<xmin>1<", "<xmin>a<"), "<xmin> is `a`"),
            (&good.replace("<xmin>1<", "<xmin>31<"), "is not x0 <= x1"),
            (&good.replace("<ymax>40</ymax>", ""), "<bndbox> has no <ymax>"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }
}
