//! The image of an instance: from the engine's own, from its registry.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;

use crate::local::credentials;
use crate::local::engine::{self, Engine};

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoImage {
    /// The kubelet's word, and the engine's.
    Refused(&'static str, String),
    /// The engine could not be asked.
    Silent(String),
}

/// Sees to it that the engine has the image.
///
/// # Errors
/// Why it has not.
pub async fn have(engine: &Engine, image: &str) -> Result<(), NoImage> {
    match engine.api.inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(error) if engine::status(&error) == Some(404) => {}
        Err(error) => return Err(refused(&error)),
    }
    tracing::info!(image, "pulling");
    let options = CreateImageOptionsBuilder::default().from_image(&with_tag(image)).build();
    let credentials = credentials::for_image(image).await;
    let mut answers = std::pin::pin!(engine.api.create_image(Some(options), None, credentials));
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| refused(&error))?;
    }
    // Podman tells some failures only by not having it.
    engine.api.inspect_image(image).await.map(drop).map_err(|error| refused(&error))
}

fn refused(error: &bollard::errors::Error) -> NoImage {
    let words = engine::words(error);
    if !engine::is_answer(error) {
        return NoImage::Silent(words);
    }
    // The kubelet itself reads the name before it asks anybody.
    let is_name = ["invalid reference format", "invalid repository name"].iter().any(|it| words.contains(it));
    NoImage::Refused(if is_name { "InvalidImageName" } else { "ErrImagePull" }, words)
}

/// Without a tag the engine would pull all of them.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_pulled_and_not_all() {
        assert_eq!(with_tag("host:5000/a/b"), "host:5000/a/b:latest");
        assert_eq!(with_tag("host:5000/a/b:1"), "host:5000/a/b:1");
        assert_eq!(with_tag("b@sha256:00"), "b@sha256:00");
    }
}
