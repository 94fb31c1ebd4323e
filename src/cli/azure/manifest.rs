//! A resource as it is applied: with the fields that the document has, and no others.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::deployment::{CodeSource, OnlineDeployment};
use crate::api::name;
use crate::process::tree::typed;

/// A resource. [`Manifest::value`] has the fields that the document has, so that whoever applies it owns no others and
/// the defaults stay those of the schema; [`Manifest::object`] is the same with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest<T> {
    value: Value,
    object: T,
}

impl<T: DeserializeOwned> Manifest<T> {
    /// Reads a manifest that was put together.
    ///
    /// # Errors
    /// When it is not of the resource's form.
    pub(super) fn new(value: Value) -> Result<Self, String> {
        let object = typed(value.clone())?;
        Ok(Self { value, object })
    }

    /// What is applied.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The resource with its defaults.
    #[must_use]
    pub fn object(&self) -> &T {
        &self.object
    }

    /// Its `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Manifest<OnlineDeployment> {
    /// Puts the image that was built in its place.
    pub fn set_image(&mut self, image: &str) {
        image.clone_into(&mut self.object.spec.environment.image);
        self.replace("/spec/environment/image", Value::from(image));
    }

    /// Puts the place that the model was brought to in its place. A deployment without a model stays so.
    pub fn set_model_uri(&mut self, uri: &str) {
        if let Some(model) = &mut self.object.spec.model {
            uri.clone_into(&mut model.uri);
        }
        self.replace("/spec/model/uri", Value::from(uri));
    }

    /// Puts the place that the model was uploaded to in its place, with the digest of what is there and whether that is an
    /// archive. A model without a name keeps the one that its file or folder gives it.
    ///
    /// # Errors
    /// When the model has no form in JSON.
    pub fn set_uploaded_model(&mut self, uri: &str, sha256: &str, unpack: bool) -> Result<(), serde_json::Error> {
        let Some(model) = &mut self.object.spec.model else { return Ok(()) };
        let own = name::from_uri(&model.uri);
        model.name.get_or_insert(own);
        uri.clone_into(&mut model.uri);
        model.sha256 = Some(sha256.to_owned());
        model.unpack = unpack;
        let Some(place) = self.value.pointer_mut("/spec/model").and_then(Value::as_object_mut) else { return Ok(()) };
        // Not the version, which has a default.
        let changed = serde_json::to_value(model)?;
        for key in ["name", "uri", "sha256", "unpack"] {
            if let Some(value) = changed.get(key) {
                place.insert(key.to_owned(), value.clone());
            }
        }
        Ok(())
    }

    /// Puts the place that the code was brought to in its place. A deployment without code stays so.
    ///
    /// # Errors
    /// When the source has no form in JSON.
    pub fn set_code(&mut self, code: CodeSource) -> Result<(), serde_json::Error> {
        self.replace("/spec/codeConfiguration/code", serde_json::to_value(&code)?);
        if let Some(configuration) = &mut self.object.spec.code_configuration {
            configuration.code = code;
        }
        Ok(())
    }

    /// Adds an annotation.
    pub fn annotate(&mut self, key: &str, text: &str) {
        self.object.metadata.annotations.get_or_insert_default().insert(key.to_owned(), text.to_owned());
        if let Some(metadata) = self.value.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(key.to_owned(), Value::from(text));
            }
        }
    }

    fn replace(&mut self, pointer: &str, with: Value) {
        if let Some(place) = self.value.pointer_mut(pointer) {
            *place = with;
        }
    }
}
