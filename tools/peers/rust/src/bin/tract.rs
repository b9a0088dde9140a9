//! tract. One thread unless told otherwise: its matrix products can be shared among threads by an executor.

use quantlens_peers::{Arguments, Failure, serve};
use tract_onnx::prelude::*;

fn main() -> Result<(), Failure> {
    let Arguments { model, threads, image } = Arguments::read()?;
    if threads > 1 {
        multithread::set_default_executor(multithread::Executor::multithread(threads));
    }
    let image: Tensor = tract_ndarray::Array4::from_shape_vec((1, 3, 224, 224), image)?.into();
    serve(|| {
        let model = tract_onnx::onnx().model_for_path(&model)?.into_optimized()?.into_runnable()?;
        Ok(move |wanted| {
            let out = model.run(tvec!(image.clone().into()))?;
            Ok(if wanted { out[0].to_plain_array_view::<f32>()?.iter().copied().collect() } else { Vec::new() })
        })
    })
}
