//! What instances have written.
