//! What PyTorch and Keras call the things of this language: data for the help of errors about unknown names.
//!
//! A pointer is given only where a name is unknown: who defines a block `dense` has it.

use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;

/// Foreign names, separated by spaces, in lower case and without underscores; and the name of the same thing here, or a
/// sentence where that is more than a name.
pub type Table = &'static [(&'static str, &'static str)];

/// Layers, ops, functions and initialisers.
pub const CALLS: Table = &[
    ("conv2d convolution2d convolution lazyconv2d", "conv"),
    ("dense fc fullyconnected lazylinear densely", "linear"),
    ("conv1d conv3d", "pictures have two axes: `conv(out, [1, k])` goes along one of them"),
    ("depthwiseconv2d", "write `conv(C, k, groups=C)`, with `C` channels"),
    ("separableconv2d", "write `conv(C, k, groups=C) |> conv(out, 1)`, with `C` channels"),
    ("convtranspose2d conv2dtranspose deconv", "write `upsample(2) |> conv(out, k)`, or an op"),
    ("batchnorm1d batchnorm2d batchnormalization bn", "batchnorm"),
    ("layernormalization ln", "layernorm"),
    ("groupnormalization", "groupnorm"),
    ("instancenorm2d", "instancenorm"),
    ("localresponsenorm", "lrn"),
    ("maxpool2d maxpooling2d", "maxpool"),
    ("avgpool2d averagepooling2d averagepool avgpooling2d meanpool", "avgpool"),
    ("lppool2d", "lppool"),
    ("adaptiveavgpool2d", "adaptiveavgpool"),
    ("adaptivemaxpool2d", "adaptivemaxpool"),
    ("globalaveragepooling2d globalavgpool2d gap", "globalavgpool"),
    ("globalmaxpooling2d globalmaxpool2d gmp", "globalmaxpool"),
    ("spatialdropout2d", "dropout2d"),
    ("upsampling2d interpolate resize", "upsample"),
    ("zeropad2d zeropadding2d", "pad"),
    ("cropping2d centercrop", "crop"),
    ("swish", "silu"),
    ("hardtanh clamp clip", "write `min(max(x, low), high)`"),
    ("reshape view unsqueeze squeeze", "another shape is written `x as f32[N, C*H*W]`"),
    ("permute transpose", "write an op: `y[n, j, i] = x[n, i, j];`"),
    ("cat concatenate", "concat"),
    ("add multiply", "tensors are added by `a + b` and multiplied by `a * b`"),
    ("matmul bmm einsum dot", "write an op: `y[n, o] = sum[c] x[n, c] * w[c, o];`"),
    ("where", "in an equation: `if condition { a } else { b }`"),
    ("sequential modulelist", "layers are joined by `|>`, and `for` repeats them"),
    ("activation", "write the function itself, such as `relu`"),
    ("identity", "leave it out"),
    ("input inputlayer", "the first parameter of the model is its input: `x: f32[N, 1, 28, 28]`"),
    ("print", "`cnnc summary` shows the shapes of all layers"),
    ("glorotuniform xavier", "xavier_uniform"),
    ("glorotnormal", "xavier_normal"),
    ("heuniform kaiming he", "kaiming_uniform"),
    ("henormal", "kaiming_normal"),
    ("truncatednormal randn randomnormal", "normal"),
    ("rand randomuniform", "uniform"),
];

/// Losses.
pub const LOSSES: Table = &[
    (
        "crossentropyloss ce categoricalcrossentropy sparsecategoricalcrossentropy softmaxcrossentropy crossentropy",
        "cross_entropy",
    ),
    ("nllloss negativeloglikelihood", "nll"),
    ("mseloss meansquarederror l2 l2loss", "mse"),
    ("l1loss mae meanabsoluteerror", "l1"),
    ("smoothl1loss smoothl1 huberloss", "huber"),
    ("bceloss binarycrossentropy", "bce"),
    ("bcewithlogitsloss binarycrossentropywithlogits", "bce_with_logits"),
];

/// Metrics.
pub const METRICS: Table = &[
    ("acc top1 categoricalaccuracy sparsecategoricalaccuracy", "accuracy"),
    ("topk topkaccuracy topkcategoricalaccuracy top5", "write `top(5)`"),
    ("confusionmatrix", "confusion"),
];

/// Schedules of the learning rate.
pub const SCHEDULES: Table = &[
    ("steplr", "step"),
    ("multisteplr piecewiseconstantdecay", "milestones"),
    ("exponentiallr exponentialdecay", "exponential"),
    ("cosineannealinglr cosinedecay cosineannealing", "cosine"),
    ("onecyclelr", "onecycle"),
    ("linearlr polynomiallr polynomialdecay", "linear"),
    (
        "reducelronplateau",
        "`stop` ends a phase that no longer improves, and the next one has a rate of its own",
    ),
];

/// Values.
pub const NAMES: Table =
    &[("true", "true"), ("false", "false"), ("none null nil", "none"), ("infinity", "inf")];

/// Where data comes from.
pub const SOURCES: Table = &[
    ("mnist fashionmnist kmnist", "write `idx(\"DIR\")`, a folder with the four files"),
    ("imagefolder imagedatasetfromdirectory images", "folder"),
    ("numpy npy", "npz"),
    ("fakedata", "synthetic"),
];

/// What is done to pictures.
pub const STEPS: Table = &[
    ("randomhorizontalflip randomflip flip", "hflip"),
    ("randomverticalflip", "vflip"),
    ("randomcrop", "crop"),
    ("randomrotation", "rotate"),
    ("randomaffine", "affine"),
    ("randomerasing cutout", "erase"),
    ("togray togrey greyscale", "grayscale"),
    ("rescale", "scale"),
    ("totensor", "leave it out: pictures arrive as numbers from 0 to 1"),
    ("compose", "steps are joined by `|>`"),
];

/// Keys of sections: those of a train section, and of a data section.
pub const KEYS: Table = &[
    ("criterion lossfn lossfunction", "loss"),
    ("optimizer optimiser opt", "optim"),
    ("batchsize bs", "batch"),
    ("numepochs nepochs maxepochs nepoch", "epochs"),
    ("randomseed manualseed randomstate", "seed"),
    ("scheduler lrscheduler lrschedule", "schedule"),
    ("callbacks earlystopping patience", "stop"),
    ("gradclip clipnorm clipvalue gradientclipping maxnorm maxgradnorm", "clip"),
    ("pretrained checkpointpath weightsfile", "weights"),
    ("lr learningrate", "the learning rate is the first argument of the optimiser: `optim = adam(1e-3)`"),
    ("momentum weightdecay betas", "an option of the optimiser: `optim = sgd(0.1, momentum=0.9)`"),
    ("validationsplit valsplit valsize", "holdout"),
    ("dataset path root dir folder", "source"),
    ("transform transforms preprocess preprocessing", "prepare"),
    ("normalize normalise", "write `prepare = normalize(mean, std)`"),
    ("augmentation augmentations dataaugmentation", "augment"),
    ("droplast dropremainder", "drop_last"),
    ("classnames labels", "classes"),
    ("device numworkers", "a flag of the command: `--threads N`"),
];

/// Types that are no tensors.
pub const TYPES: Table = &[
    ("tensor ndarray", "a tensor's type has its elements and axes: `f32[N, C, H, W]`"),
    ("integer long i64 int64 size", "int"),
    ("double real number f64 float64 scalar", "float"),
    ("boolean", "bool"),
    ("str text", "string"),
    ("tuple array", "list"),
];

/// Arguments: foreign names, the parameters one of which the callee must have for it to be meant, and a sentence, where
/// the pointer is not just to that parameter.
const ARGUMENTS: &[(&str, &str, Option<&str>)] = &[
    ("kernelsize kernel poolsize window ksize", "k", None),
    ("padding", "pad sides", None),
    ("strides", "stride", None),
    ("filters outchannels outfeatures units outputdim outputs channels features", "out", None),
    ("usebias", "bias", None),
    ("dilationrate", "dilation", None),
    ("numgroups ngroups", "groups", None),
    ("rate prob probability", "p", None),
    ("negativeslope alpha", "slope", None),
    ("epsilon", "eps", None),
    ("scalefactor factor", "scale", None),
    ("outputsize", "size", None),
    ("dim dims", "axis", None),
    ("learningrate", "lr", None),
    ("betas", "beta1", Some("write `beta1=0.9, beta2=0.999`")),
    ("rho", "alpha", None),
    ("inchannels infeatures inputdim inputsize", "out", Some("leave it out: it follows from the input")),
    ("numfeatures numchannels normalizedshape", "affine", Some("leave it out: it follows from the input")),
    ("activation", "out", Some("write it behind the layer: `|> relu`")),
    ("inputshape", "out", Some("the type of the model's input says it: `x: f32[N, 1, 28, 28]`")),
    ("name", "x", Some("a layer is named by `as`: `|> linear(10) as fc`")),
    ("reduction", "prediction", Some("leave it out: a loss is the mean over the batch")),
];

/// A name as the tables have it.
fn folded(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

fn has(names: &str, wanted: &str) -> bool {
    names.split(' ').any(|name| name == wanted)
}

/// What a table has for a name.
pub fn find(table: Table, name: &str) -> Option<&'static str> {
    let name = folded(name);
    table.iter().find(|(names, _)| has(names, &name)).map(|(_, here)| *here)
}

/// A pointer as a line of help: a sentence, or the name of something here.
pub fn pointer(here: &str) -> String {
    if here.contains(' ') { here.to_owned() } else { format!("it is called `{here}` here") }
}

/// The error of an unknown name with what it is called here or, where no table knows it, the nearest known name.
pub fn suggest<'a>(
    error: Diagnostic,
    table: Table,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    match find(table, name) {
        Some(here) if here != name => error.help(pointer(here)),
        _ => error.did_you_mean(nearest(name, known)),
    }
}

/// The same for an argument of something with these parameters.
pub fn suggest_argument(error: Diagnostic, name: &str, parameters: &[&str]) -> Diagnostic {
    let folded = folded(name);
    let known = ARGUMENTS.iter().filter(|(names, _, _)| has(names, &folded));
    let found = known.into_iter().find_map(|(_, of, sentence)| {
        let parameter = of.split(' ').find(|of| parameters.contains(of))?;
        Some(pointer(sentence.unwrap_or(parameter)))
    });
    match found {
        Some(pointer) => error.help(pointer),
        None => error.did_you_mean(nearest(name, parameters.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceMap;
    use crate::elab::{Module, functions, joins};

    /// A name that is not folded is never found, and one of the library needs no pointer elsewhere: `conv2d` and others
    /// are ops of the library, but written with capitals they are layers.
    #[test]
    fn names_are_folded() {
        for table in [CALLS, LOSSES, METRICS, SCHEDULES, NAMES, SOURCES, STEPS, KEYS, TYPES] {
            let names = table.iter().flat_map(|(names, _)| names.split(' '));
            let mut seen = Vec::new();
            for name in names {
                assert_eq!(name, folded(name));
                assert!(!seen.contains(&name), "{name} twice");
                seen.push(name);
            }
        }
    }

    /// What a pointer names is there.
    #[test]
    fn targets_exist() {
        let module = Module::from_text(&mut SourceMap::default(), "m.cnn", "").expect("it loads");
        for (_, here) in CALLS.iter().chain(LOSSES).filter(|(_, here)| !here.contains(' ')) {
            let join = joins::JOINS.iter().any(|join| join.name == *here);
            let known = join || functions::find(here).is_some() || module.find(here, true).is_some();
            assert!(known, "{here}");
        }
    }
}
