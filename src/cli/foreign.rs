//! What other programs call the commands and flags of this one: data for the errors about unknown ones.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Names, separated by spaces, and what to do.
type Table = &'static [(&'static str, &'static str)];

const COMMANDS: Table = &[
    ("train fit learn start", "`cnnc run MODEL` trains"),
    (
        "test evaluate validate score",
        "`cnnc eval MODEL --weights RUN` gives loss and metrics of the test split",
    ),
    (
        "export save convert",
        "`cnnc run` writes the weights to model.safetensors; `cnnc predict --input x.npy --output y.npy` runs them",
    ),
    ("infer inference classify", "`cnnc predict MODEL --weights RUN PICTURE...` names classes"),
    ("resume continue", "`cnnc run --resume RUN` goes on with a run"),
    ("format", "`cnnc fmt FILE...` writes files in the canonical form"),
    ("lint verify", "`cnnc check MODEL` looks for mistakes"),
    ("build compile dump", "`cnnc emit MODEL --stage STAGE` shows what a model is compiled to"),
    ("init create", "`cnnc new NAME` writes an example to start from"),
    ("list ls history", "`cnnc runs` lists the runs"),
    ("tune autotune", "`cnnc bench MODEL --tune` looks for faster register tiles"),
    ("benchmark time", "`cnnc bench MODEL` measures a step"),
    ("info show describe", "`cnnc summary MODEL` shows the layers"),
    ("docs man explain", "`cnnc doc NAME` explains a layer, op, loss or optimiser"),
    ("version", "`cnnc --version` says it"),
];

const OPTIMISER: &str = "the optimiser has it: `--set 'train.optim=adam(1e-3)'`";

const FLAGS: Table = &[
    ("--lr --learning-rate --learning_rate --momentum --weight-decay --optimizer --optim", OPTIMISER),
    ("--loss --criterion", "a setting of the train section: `--set train.loss=cross_entropy`"),
    ("--schedule --scheduler", "a setting of the train section: `--set train.schedule=cosine`"),
    ("--batch-size --batch_size --bs", "it is called `--batch N` here"),
    ("--num-epochs --num_epochs --max-epochs -e", "it is called `--epochs N` here"),
    ("--max-steps --num-steps", "it is called `--steps K` here"),
    ("--random-seed --manual-seed", "it is called `--seed N` here"),
    ("--dataset --data-dir --data_dir --data-path --root", "it is called `--data DIR` here"),
    ("--output-dir --save-dir --log-dir --save --run-name", "it is called `--out DIR` here"),
    (
        "--checkpoint --ckpt",
        "a run goes on with `--resume RUN`; its weights are `--init RUN` or `--weights RUN`",
    ),
    ("--pretrained --weights --load", "a training begins with the weights of `--init FILE`"),
    ("--init", "the weights are named by `--weights RUN`"),
    ("--gpu --cuda --cpu-only --gpus", "this version compiles for the CPU only"),
    ("--workers --num-workers --num_workers --jobs -j", "it is called `--threads N` here"),
    (
        "--verbose -v --debug",
        "`--time` says where the time until the first step goes; `cnnc emit` shows every stage",
    ),
    ("--silent -q", "it is called `--quiet` here"),
    ("--name --arch --net", "it is called `--model NAME` here"),
    ("--size --image-size --img-size", "an argument of the model: `--set args.size=64`"),
];

fn find(table: Table, name: &str) -> Option<&'static str> {
    table.iter().find(|(names, _)| names.split(' ').any(|known| known == name)).map(|(_, here)| *here)
}

/// What to say of an unknown command or flag that other programs have.
pub fn pointer(error: &clap::Error) -> Option<String> {
    let name = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => Some(name.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = name(ContextKind::InvalidSubcommand)?;
            Some(format!("there is no command `{name}`; {}", find(COMMANDS, name)?))
        }
        ErrorKind::UnknownArgument => {
            let name = name(ContextKind::InvalidArg)?;
            Some(format!("there is no flag `{name}`; {}", find(FLAGS, name)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::arguments::Arguments;

    /// A pointer to a command or flag that is not there helps nobody, and none is needed for those that are.
    #[test]
    fn pointers_are_to_what_is_there() {
        let command = Arguments::command();
        let commands: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
        let flags: Vec<String> = command
            .get_subcommands()
            .flat_map(|command| command.get_arguments())
            .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
            .chain(["--version".into()])
            .collect();
        for (names, here) in COMMANDS.iter().chain(FLAGS) {
            assert!(!names.split(' ').any(|name| commands.contains(&name)), "{names}");
            let words: Vec<&str> = here.split([' ', '`', ';']).collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "cnnc" && !pair[1].starts_with('-')) {
                assert!(commands.contains(&pair[1]), "{here}");
            }
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(flags.iter().any(|known| known == flag), "{flag}");
            }
        }
    }
}
