//! Labels of containers, and what local mode alone reads in the documents.

/// Label of a container: its endpoint.
pub const ENDPOINT: &str = "mooring.dev/local-endpoint";
/// Label of a container: its deployment.
pub const DEPLOYMENT: &str = "mooring.dev/local-deployment";
/// Label of a container: its instance.
pub const INSTANCE: &str = "mooring.dev/local-instance";
/// Label of a container: the digest of the template that it was made from.
pub const REVISION: &str = "mooring.dev/local-revision";
/// Label of a container: the state folder of its endpoint, since others may use the same engine.
pub const FOLDER: &str = "mooring.dev/local-folder";

/// Annotation of an `OnlineDeployment`: the folder that its image is built from.
pub const BUILD_CONTEXT: &str = "local.mooring.dev/build-context";
/// Annotation of an `OnlineDeployment`: the Dockerfile, relative to the folder. Default: Dockerfile.
pub const DOCKERFILE: &str = "local.mooring.dev/dockerfile";
/// Annotation of an `OnlineDeployment`: `all`, or how many GPUs each instance gets.
pub const GPUS: &str = "local.mooring.dev/gpus";
/// Annotation of an `OnlineDeployment`: when it was last restarted.
pub const RESTARTED_AT: &str = "local.mooring.dev/restarted-at";

/// The annotations that make other instances when they change.
pub const OF_TEMPLATE: [&str; 4] = [BUILD_CONTEXT, DOCKERFILE, GPUS, RESTARTED_AT];

/// The namespace that all objects of local mode are in.
pub const NAMESPACE: &str = "local";
