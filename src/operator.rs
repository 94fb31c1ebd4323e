//! The imperative shell: observe → plan → act → tell, for each object.

pub mod crds;
