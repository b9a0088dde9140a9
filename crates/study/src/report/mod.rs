//! The report: figures as files, and one self-contained page of everything (tables, figures, definitions, and the most
//! different pairs as a gallery that computes its maps in the page). Made of the records and of the summary; images are
//! read again for their pictures, no network runs. The same records give the same bytes, wall times aside.

mod figures;
mod gallery;
mod gather;
mod html;
mod panels;
mod pictures;
mod settings;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use quantlens_data::imagenet;

use self::figures::Figure;
use self::gallery::Gallery;
use self::gather::PairData;
use self::html::{Frame, Page};
use self::panels::Panels;
use self::pictures::Crops;
use crate::Error;
use crate::parts::{Records, write_beside};
use crate::progress::Progress;
use crate::run::StudyConfig;
use crate::summary::{Summary, SummaryOptions};
use crate::tables::tables;

/// The page's file name.
pub const REPORT: &str = "report.html";

/// The folder of the figures' files.
pub const FIGURES: &str = "figures";

/// File that says what the figures show.
const CAPTIONS: &str = "figures.txt";

/// JPEG qualities of the gallery, tried in this order until the page is small enough; then the gallery is cut.
const QUALITIES: [u8; 4] = [85, 70, 50, 35];

/// How large the report may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportOptions {
    /// Images of each pair in the gallery.
    pub pairs: usize,
    /// Size of the page, bytes.
    pub max_bytes: usize,
}

impl Default for ReportOptions {
    /// 60 images a pair, 25 MB.
    fn default() -> Self {
        Self { pairs: 60, max_bytes: 25_000_000 }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page.
    pub page: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// Images of each pair in its gallery: fewer than asked for where the page would have become too large.
    pub pairs: usize,
    /// The figures' files.
    pub figures: Vec<PathBuf>,
}

/// Writes the figures and the page into the study's folder.
///
/// # Errors
/// Unreadable records; [`Error::Settings`] where even without a gallery the page would be larger than it may; files that
/// cannot be written; [`Error::Stopped`].
pub fn run_report(
    config: &StudyConfig,
    summary: &Summary,
    how: &SummaryOptions,
    options: &ReportOptions,
    progress: &dyn Progress,
) -> Result<ReportFiles, Error> {
    let records = Records::open(&config.out_dir)?;
    let data = gather::gather(&records, summary, how, options.pairs, progress)?;
    let crops = Crops::new(config)?;
    let class = |pair: usize, class: u32| class_name(config, pair, class);
    let figures = figures::all(summary, &data);
    let panels: Vec<Panels> = data
        .iter()
        .zip(&summary.pairs)
        .enumerate()
        .map(|(number, (data, pair))| Panels::new(number, &pair.settings.name, data, &crops, &|c| class(number, c)))
        .collect();
    let all = tables(summary);
    let page = Page { summary, tables: &all, figures: &figures, panels: &panels };
    let writer = Writer { page, data: &data, crops: &crops, how, options, class: &class, progress };
    let (text, pairs) = writer.fit()?;
    let figures = write_figures(&config.out_dir, &figures, &panels)?;
    let page = config.out_dir.join(REPORT);
    write_beside(&page, text.as_bytes())?;
    Ok(ReportFiles { page, bytes: text.len(), pairs, figures })
}

/// The name of a class for people.
fn class_name(config: &StudyConfig, pair: usize, class: u32) -> String {
    let classes = config.pairs.get(pair).map_or(&[][..], |p| &p.float.classes);
    match classes.get(class as usize) {
        Some(wnid) if imagenet::is_wnid(wnid) => match imagenet::index_of(wnid) {
            Some(index) => imagenet::names()[index].into(),
            None => wnid.clone(),
        },
        Some(name) => name.clone(),
        None => format!("class {class}"),
    }
}

/// Puts the page together so that it is small enough.
struct Writer<'a> {
    page: Page<'a>,
    data: &'a [PairData],
    crops: &'a Crops<'a>,
    how: &'a SummaryOptions,
    options: &'a ReportOptions,
    class: &'a dyn Fn(usize, u32) -> String,
    progress: &'a dyn Progress,
}

impl Writer<'_> {
    /// The page, and the images of each pair in its gallery.
    fn fit(&self) -> Result<(String, usize), Error> {
        let most = self.options.max_bytes;
        let mut count = self.data.iter().map(|d| d.gallery.len()).max().unwrap_or(0);
        while count > 0 {
            let frame = self.frame(count);
            let bare = self.json(&Gallery::bare(count)).len() + frame.before.len() + frame.after.len();
            // An entry says where its picture is in at most so many digits more than without one.
            let room = most.saturating_sub(bare);
            for quality in QUALITIES {
                let gallery = Gallery::encode(self.data, self.crops, count, quality, room, self.progress)?;
                let text = gallery.map(|g| format!("{}{}{}", frame.before, self.json(&g), frame.after));
                if let Some(text) = text.filter(|t| t.len() <= most) {
                    return Ok((text, count));
                }
            }
            count = count * 3 / 4;
        }
        let Frame { before, after } = self.page.frame(None);
        let text = before + &after;
        if text.len() <= most {
            return Ok((text, 0));
        }
        let (found, most) = (text.len() as f64 / 1e6, most as f64 / 1e6);
        Err(Error::Settings(format!(
            "the report is {found:.1} MB without a gallery already, and may have {most:.1} MB"
        )))
    }

    fn frame(&self, count: usize) -> Frame {
        let asked = self.options.pairs;
        let cut = if count < asked && self.data.iter().any(|d| d.gallery.len() > count) {
            format!(
                " ({asked} were asked for; more would not fit into the page's {:.0} MB)",
                self.options.max_bytes as f64 / 1e6
            )
        } else {
            String::new()
        };
        let note = format!(
            "Of each network the {count} images with the largest RMSE{cut}. Maps, boxes, IoU and RMSE are computed in this page \
             from the recorded EigenCAM vectors, with the arithmetic of the study."
        );
        self.page.frame(Some(&note))
    }

    fn json(&self, gallery: &Gallery) -> String {
        gallery.json(self.data, self.page.summary, self.how, self.crops, self.class)
    }
}

/// Writes the figures' files and removes those of an earlier report that are not among them.
fn write_figures(out: &Path, figures: &[Vec<Figure>; 3], panels: &[Panels]) -> Result<Vec<PathBuf>, Error> {
    let folder = out.join(FIGURES);
    fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut captions = String::new();
    for f in figures.iter().flatten() {
        files.push((format!("{}.svg", f.file), f.svg.file().into_bytes()));
        captions += &format!("{}.svg: {}. {}\n", f.file, f.heading, f.caption);
    }
    for p in panels {
        if let Some(sheet) = p.sheet() {
            files.push((format!("{}.png", p.file), pictures::png(&sheet)?));
            captions += &p.text();
        }
    }
    files.push((CAPTIONS.into(), captions.into_bytes()));
    let mut written = Vec::new();
    for (name, bytes) in &files {
        let path = folder.join(name);
        write_beside(&path, bytes)?;
        written.push(path);
    }
    remove_others(&folder, &written)?;
    Ok(written)
}

/// Removes figures that this report does not have: of pairs or stages that an earlier one had. Other files stay.
fn remove_others(folder: &Path, written: &[PathBuf]) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = (name.starts_with("figure-") || name.starts_with("curves-"))
            && (name.ends_with(".svg") || name.ends_with(".png") || name.ends_with(".tmp"));
        if ours && !written.contains(&path) {
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}
