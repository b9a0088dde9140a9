//! quantlens with EigenCAM: a run goes from the normalized image to the logits and the map of the target layer at the input's size.

use std::path::Path;

use quantlens_engine::Plan;
use quantlens_nets::ModelFile;
use quantlens_peers::{Arguments, Failure, serve};
use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{CamWorkspace, EigenCam, SignPolicy};

fn main() -> Result<(), Failure> {
    let Arguments { model, threads, image } = Arguments::read()?;
    let input = Tensor::new(image, [1, 3, 224, 224], Layout::Nchw)?;
    serve(|| {
        let network = quantlens_nets::load(&ModelFile::open(Path::new(&model))?, None)?;
        let layer = network.cam_layer.clone();
        let mut session = Plan::builder(&network.graph).threads(threads).tap(&layer).build()?.session();
        let (mut cams, mut cam, mut map) = (CamWorkspace::default(), EigenCam::default(), Vec::new());
        Ok(move |wanted| {
            session.run(&input)?;
            cams.eigen_cam_into(session.view(&layer)?, &mut cam)?;
            let p = cam.signed(SignPolicy::Lapack, "")?;
            cams.map(&p, [cam.h, cam.w], [224, 224], &mut map);
            Ok(if wanted { session.logits().to_vec() } else { Vec::new() })
        })
    })
}
