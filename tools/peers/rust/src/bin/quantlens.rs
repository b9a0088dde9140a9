//! quantlens: a run goes from the normalized image to the logits.

use std::path::Path;

use quantlens_engine::Plan;
use quantlens_nets::ModelFile;
use quantlens_peers::{Arguments, Failure, serve};
use quantlens_tensor::{Layout, Tensor};

fn main() -> Result<(), Failure> {
    let Arguments { model, threads, image } = Arguments::read()?;
    let input = Tensor::new(image, [1, 3, 224, 224], Layout::Nchw)?;
    serve(|| {
        let network = quantlens_nets::load(&ModelFile::open(Path::new(&model))?, None)?;
        let mut session = Plan::builder(&network.graph).threads(threads).build()?.session();
        Ok(move |wanted| {
            session.run(&input)?;
            Ok(if wanted { session.logits().to_vec() } else { Vec::new() })
        })
    })
}
