//! Local mode: the same documents on a container engine.
//!
//! A small kubelet. What [`crate::plan`] makes of a deployment, a Kubernetes Deployment with its pod template, is run on
//! Docker or Podman, and what is seen there is put into the form that a cluster would show it in: so that status,
//! conditions and codes come from the same decisions as in the cluster.
//!
//! ```text
//! verbs → store (files) ← agent → instance (containers)
//!                           ↓
//!                        gateway ← route.yaml
//! ```
//!
//! [`store`] keeps what is wanted and what became of it. [`agent`], one process for each endpoint, makes it so: it looks
//! at the files, [`rollout`] says which instances there should be, each [`instance`] lives by itself, [`evidence`] puts
//! into Kubernetes' words what they show.

pub mod agent;
pub mod annotation;
pub mod build;
pub mod credentials;
pub mod development;
pub mod engine;
pub mod evidence;
pub mod fetch;
pub mod folder;
pub mod host_path;
pub mod instance;
pub mod logs;
pub mod mount;
pub mod rollout;
pub mod store;
pub mod variable;
