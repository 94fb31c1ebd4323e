//! What the API server asks before it stores an object.

pub mod certificate;
pub mod registration;
pub mod review;
pub mod serve;
