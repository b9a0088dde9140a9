//! Folders of images: plain ones, and torchvision's ImageFolder trees.

use std::path::{Path, PathBuf};

use super::{Class, Found, Sample};
use crate::Error;

/// Names that are looked for; what is in the files is found out from their bytes.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

/// All images in a folder and its subfolders, or the one image.
pub fn folder(path: &Path) -> Result<Found, Error> {
    let kind = "folder";
    if path.is_file() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(Found { kind: "file", samples: vec![Sample::new(name, path.to_path_buf())], missing: 0 });
    }
    Ok(Found { kind, samples: images(path)?, missing: 0 })
}

/// Images whose first folder is their class.
pub fn image_folder(path: &Path) -> Result<Found, Error> {
    let mut samples = images(path)?;
    for sample in &mut samples {
        let Some((class, _)) = sample.id.split_once('/') else {
            let message = format!("{} lies in no class folder; an ImageFolder tree is <class>/<image>", sample.id);
            return Err(Error::dataset(path, message));
        };
        sample.class = Some(Class::named(class));
    }
    Ok(Found { kind: "ImageFolder tree", samples, missing: 0 })
}

/// Names of the folders directly in a folder, but for hidden ones.
pub fn subfolders(path: &Path) -> Result<Vec<String>, Error> {
    Ok(entries(path)?.into_iter().filter(|(_, is_folder)| *is_folder).map(|(name, _)| name).collect())
}

/// Samples for all images below a folder.
pub fn images(root: &Path) -> Result<Vec<Sample>, Error> {
    let mut samples = Vec::new();
    collect(root, "", &mut Vec::new(), &mut samples)?;
    Ok(samples)
}

/// `above`: the real paths of the folders on the way here, since links can make a loop.
fn collect(folder: &Path, prefix: &str, above: &mut Vec<PathBuf>, samples: &mut Vec<Sample>) -> Result<(), Error> {
    let real = folder.canonicalize().map_err(Error::io(folder))?;
    if above.contains(&real) {
        return Err(Error::dataset(folder, "a link leads back to a folder above it; remove the link"));
    }
    above.push(real);
    for (name, is_folder) in entries(folder)? {
        let (path, id) = (folder.join(&name), format!("{prefix}{name}"));
        if is_folder {
            collect(&path, &format!("{id}/"), above, samples)?;
        } else if is_image_name(&name) {
            samples.push(Sample::new(id, path));
        }
    }
    above.pop();
    Ok(())
}

/// Names in a folder with whether they are folders, sorted; hidden ones left out. Links are followed.
///
/// # Errors
/// A folder that cannot be read, a name that is not Unicode: ids are written into records as text.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::dataset(&entry.path(), "the name is not Unicode; rename it"));
        };
        if !name.starts_with('.') {
            let is_folder = entry.path().is_dir();
            names.push((name, is_folder));
        }
    }
    names.sort();
    Ok(names)
}

fn is_image_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, e)| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
