//! What loops become as text, and that it is what they say.
