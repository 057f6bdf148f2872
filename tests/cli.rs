//! The commands as a person uses them: through the binary, with exit codes, files and exact messages.

mod place;

mod cli {
    mod bits;
    mod broken;
    mod data;
    mod errors;
    mod examples;
    mod figures;
    mod files;
    mod kills;
    mod lints;
    mod memory;
    mod metrics;
    mod mistaken;
    mod nan;
    mod notices;
    mod outputs;
    mod pairs;
    mod photos;
    mod pictures;
    mod power;
    mod predictions;
    mod rejected;
    mod resumed;
    mod runs;
    mod stages;
    mod targets;
    mod training;
    mod tuning;
    mod weights;
    mod weights_files;
}
