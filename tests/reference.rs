//! What a train section, a data section and a flag promise, held against a training that shares no code with the program:
//! a network of two layers in doubles, with its own gradients, optimisers, schedules and figures, and counts by hand.

mod place;

mod reference {
    mod counts;
    mod drawn;
    mod flags;
    mod network;
    mod order;
    mod pictures;
    mod program;
    mod sections;
    mod shown;
    mod trainer;
    mod watched;
}
