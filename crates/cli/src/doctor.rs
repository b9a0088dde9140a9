//! `quantlens doctor`: what this build and this machine have, and whether the kernels compute the same on all of it.

use anyhow::{Context, Result, bail};
use quantlens::{Decoder, Isa, Options};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::{models, output};

/// What the subcommand finds.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    target: String,
    /// Every instruction set that kernels are written for.
    instruction_sets: Vec<Found>,
    /// The one that runs use.
    used: &'static str,
    /// QUANTLENS_ISA, where set.
    quantlens_isa: Option<String>,
    cores: usize,
    decoders: Vec<&'static str>,
    /// The demo pair on each available instruction set.
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Found {
    name: &'static str,
    available: bool,
}

#[derive(Debug, Serialize)]
struct Check {
    isa: &'static str,
    /// int8 logits equal to the scalar kernels' bit for bit.
    int8_equal: bool,
    /// Largest difference of f32 logits from the scalar kernels', as a share of the largest logit.
    f32_difference: f64,
    passed: bool,
}

/// Runs the subcommand.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        instruction_sets: Isa::ALL.iter().map(|isa| Found { name: isa.name(), available: isa.available() }).collect(),
        used: Isa::from_env().context("QUANTLENS_ISA")?.name(),
        quantlens_isa: std::env::var_os("QUANTLENS_ISA").map(|v| v.to_string_lossy().into_owned()),
        cores: models::cores(),
        decoders: [Decoder::Pure, Decoder::TurboJpeg]
            .into_iter()
            .filter(|d| d.available())
            .map(Decoder::name)
            .collect(),
        checks: check()?,
    };
    if args.json {
        output::print_json(&findings)?
    } else {
        output::print(&text(&findings))?
    }
    match findings.checks.iter().find(|c| !c.passed) {
        None => Ok(()),
        Some(failed) => bail!(
            "the {} kernels do not compute what the scalar ones do; set QUANTLENS_ISA=scalar and report this machine",
            failed.isa
        ),
    }
}

/// f32 sums in another order differ by rounding: 1e-4 of the largest logit is what the project allows against PyTorch.
const F32_TOLERANCE: f64 = 1e-4;

/// The demo pair on the demo picture with every available instruction set, against the scalar kernels.
fn check() -> Result<Vec<Check>> {
    let expected = logits(Isa::Scalar)?;
    let available = Isa::ALL.iter().copied().filter(|isa| isa.available());
    available
        .map(|isa| {
            let found = logits(isa)?;
            let largest = expected[0].iter().fold(0f64, |m, &x| m.max(f64::from(x).abs()));
            let differences = found[0].iter().zip(&expected[0]).map(|(a, b)| f64::from(a - b).abs());
            // NaN must fail, and f64::max would drop it.
            let f32_difference = differences.fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m }) / largest;
            let int8_equal = found[1] == expected[1];
            Ok(Check {
                isa: isa.name(),
                int8_equal,
                f32_difference,
                passed: int8_equal && f32_difference <= F32_TOLERANCE,
            })
        })
        .collect()
}

/// The demo pair's logits, float then int8.
fn logits(isa: Isa) -> Result<[Vec<f32>; 2]> {
    let options = Options { isa: Some(isa), threads: models::cores().min(4), ..Options::default() };
    let image = quantlens_data::demo_image();
    let run = |name: &str| {
        let model = models::load(name.as_ref(), &options)?;
        Ok::<_, anyhow::Error>(model.run(&model.input(&image), |session| session.logits().to_vec())?)
    };
    Ok([run(models::DEMO[0])?, run(models::DEMO[1])?])
}

fn text(found: &Findings) -> String {
    let sets: Vec<&str> = found.instruction_sets.iter().filter(|s| s.available).map(|s| s.name).collect();
    let missing: Vec<&str> = found.instruction_sets.iter().filter(|s| !s.available).map(|s| s.name).collect();
    let isa = found.quantlens_isa.as_deref().unwrap_or("not set");
    let mut text = format!(
        "quantlens            {} ({})\n\
         instruction sets     {}\n\
         not on this machine  {}\n\
         used                 {}\n\
         QUANTLENS_ISA        {isa}\n\
         cores                {}\n\
         JPEG decoders        {}\n",
        found.version,
        found.target,
        sets.join(", "),
        missing.join(", "),
        found.used,
        found.cores,
        found.decoders.join(", "),
    );
    for check in &found.checks {
        let verdict = if check.passed { "ok" } else { "FAILED" };
        let int8 = if check.int8_equal { "equal" } else { "DIFFERENT" };
        let label = format!("self-check {}", check.isa);
        text += &format!("{label:<21}{verdict}: int8 {int8}, f32 within {:.1e}\n", check.f32_difference);
    }
    text
}
