//! quantlens with EigenCAM: a run goes from the normalized image to the logits and the map of the target layer at the input's size.

use std::path::Path;

use quantlens_engine::{Plan, Values as Elements};
use quantlens_nets::ModelFile;
use quantlens_peers::{Arguments, Failure, serve};
use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{Activation, CamWorkspace, EigenCam, SignPolicy, Values};

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
            let view = session.view(&layer)?;
            let values = match view.values {
                Elements::F32(values) => Values::F32(values),
                Elements::U8(values) => Values::U8(values),
                _ => return Err("a layer of another type".into()),
            };
            let [h, w, _] = view.shape;
            let (scale, zero_point) = view.quant.map_or((1.0, 0), |q| (q.scale, i32::from(q.zero_point)));
            cams.eigen_cam_into(Activation { values, scale, zero_point, h, w }, &mut cam)?;
            let p = cam.signed(SignPolicy::Lapack, "")?;
            cams.map(&p, [h, w], [224, 224], &mut map);
            Ok(if wanted { session.logits().to_vec() } else { Vec::new() })
        })
    })
}
