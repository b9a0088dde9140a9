//! The text files of wsolevaluation (Choe et al., CVPR 2020): a line an image, or a box, `image id,number,...`.

use std::path::Path;
use std::str::FromStr;

use super::{Class, Found, Sample, by_id, existing};
use crate::{BBox, Error};

/// Reads `class_labels.txt` (which names the images), `image_sizes.txt` and `localization.txt` in a folder; the last two
/// are optional, but boxes need sizes.
pub fn read(folder: &Path, skip_missing: bool) -> Result<Found, Error> {
    let list = folder.join("class_labels.txt");
    let mut samples = Vec::new();
    for_each_line::<usize, 1>(&list, |id, [index]| {
        let mut sample = Sample::new(id.to_string(), folder.join(id));
        sample.class = Some(Class::imagenet(index));
        samples.push(sample);
        Ok(())
    })?;
    let (mut samples, missing) = existing(samples, &list, skip_missing)?;
    let positions = by_id(&samples);
    let sizes = folder.join("image_sizes.txt");
    if sizes.exists() {
        for_each_line::<u32, 2>(&sizes, |id, size| {
            if size.contains(&0) {
                return Err(format!("the size is {}x{}", size[0], size[1]));
            }
            if let Some(&i) = positions.get(id) {
                samples[i].original_size = Some(size);
            }
            Ok(())
        })?;
    }
    let boxes = folder.join("localization.txt");
    if boxes.exists() {
        for_each_line::<f64, 4>(&boxes, |id, numbers| {
            let bbox = BBox::checked(numbers)?;
            if let Some(&i) = positions.get(id) {
                let sample = &mut samples[i];
                sample.box_size = sample.original_size;
                sample.boxes.push(bbox);
                sample.box_size.ok_or("the image has a box, but no size in image_sizes.txt")?;
            }
            Ok(())
        })?;
    }
    Ok(Found { kind: "wsolevaluation's lists in", samples, missing })
}

/// Calls `use_line` with the image id and the `N` numbers of each line.
fn for_each_line<T: FromStr, const N: usize>(
    path: &Path,
    mut use_line: impl FnMut(&str, [T; N]) -> Result<(), String>,
) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (id, numbers) = line.trim().split_once(',').unwrap_or((line, ""));
        let numbers: Option<Vec<T>> = numbers.split(',').map(|n| n.trim().parse().ok()).collect();
        let numbers: Option<[T; N]> = numbers.and_then(|n| n.try_into().ok());
        let used = match numbers {
            Some(numbers) => use_line(id, numbers),
            None => Err(format!("expected an image id and {N} numbers, separated by commas, found `{line}`")),
        };
        used.map_err(|message| Error::line(path, i + 1, message))?;
    }
    Ok(())
}
