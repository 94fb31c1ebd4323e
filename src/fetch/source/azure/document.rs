//! The XML documents of Azure's blob service.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::source::Object;
use crate::fetch::verify::{Algorithm, Checksum};

/// One page of `List Blobs`.
#[derive(Deserialize, Debug)]
#[serde(rename = "EnumerationResults", rename_all = "PascalCase")]
pub struct ListPage {
    #[serde(default)]
    blobs: Blobs,
    next_marker: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "PascalCase")]
struct Blobs {
    #[serde(default)]
    blob: Vec<Blob>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    properties: Properties,
    metadata: Option<Metadata>,
}

/// A name with characters that XML can't hold is percent-encoded, and says so.
#[derive(Deserialize, Debug)]
struct Name {
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    #[serde(rename = "Content-Length")]
    content_length: u64,
    etag: Option<String>,
    #[serde(rename = "Content-MD5")]
    content_md5: Option<String>,
    resource_type: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Metadata {
    #[serde(alias = "Hdi_isfolder")]
    hdi_isfolder: Option<String>,
}

/// What the service says when it does not do what was asked.
#[derive(Deserialize, Debug, Default)]
#[serde(rename = "Error", rename_all = "PascalCase")]
pub struct ErrorDocument {
    /// The service's own code, as `BlobNotFound`.
    pub code: Option<String>,
    /// The service's words.
    pub message: Option<String>,
    /// More of them, when it does not know us.
    pub authentication_error_detail: Option<String>,
}

impl ListPage {
    /// The blobs of the page, and whether each is a folder.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactUnpackUnsafe`] when a name is not UTF-8, which no file name can be trusted to keep.
    pub fn objects(&self) -> Result<Vec<(Object, bool)>, Failure> {
        self.blobs.blob.iter().map(|blob| Ok((blob.object()?, blob.is_folder()))).collect()
    }

    /// Asks for the next page; `None` after the last.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.next_marker.as_deref().filter(|marker| !marker.is_empty())
    }
}

impl Blob {
    fn object(&self) -> Result<Object, Failure> {
        let unfit = |error| {
            let act = format!("the name {:?} is not UTF-8", self.name.text);
            Failure::new(Reason::ArtifactUnpackUnsafe, act).caused_by(error)
        };
        let key = if self.name.encoded {
            percent_decode_str(&self.name.text).decode_utf8().map_err(unfit)?.into_owned()
        } else {
            self.name.text.clone()
        };
        let properties = &self.properties;
        let md5 = properties.content_md5.as_deref().and_then(|digest| Checksum::from_base64(Algorithm::Md5, digest));
        Ok(Object {
            key,
            size: Some(properties.content_length),
            // The listing leaves the quotes out that belong to an entity tag.
            version: properties.etag.as_deref().map(|etag| format!("\"{}\"", etag.trim_matches('"'))),
            checksums: md5.into_iter().collect(),
        })
    }

    fn is_folder(&self) -> bool {
        let hdi = self.metadata.as_ref().and_then(|metadata| metadata.hdi_isfolder.as_deref());
        is_folder(self.properties.content_length, self.properties.resource_type.as_deref(), hdi)
    }
}

/// Whether a blob of `size` bytes stands for a folder: that is what an account with a hierarchical namespace says, or the
/// metadata `hdi_isfolder` that Hadoop and the tools after it write.
#[must_use]
pub fn is_folder(size: u64, resource_type: Option<&str>, hdi: Option<&str>) -> bool {
    let is = |value: Option<&str>, word: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(word));
    size == 0 && (is(resource_type, "directory") || is(hdi, "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(blobs: &str) -> ListPage {
        let text =
            format!("<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\">{blobs}</EnumerationResults>");
        quick_xml::de::from_str(&text).unwrap()
    }

    #[test]
    fn a_page_is_read() {
        let page = page(
            "<Prefix>d/</Prefix><Blobs><Blob><Name>d/a &amp; b</Name><Properties><Creation-Time>x</Creation-Time>\
             <Etag>0x8D</Etag><Content-Length>3</Content-Length><Content-MD5>kAFQmDzST7DWlj99KOF/cg==</Content-MD5>\
             </Properties><Metadata /></Blob><Blob><Name Encoded=\"true\">d/%EF%BF%BE</Name><Properties>\
             <Content-Length>0</Content-Length><Content-MD5 /></Properties></Blob></Blobs><NextMarker>more</NextMarker>",
        );
        let objects = page.objects().unwrap();
        assert_eq!(
            objects.iter().map(|(object, _)| object.key.as_str()).collect::<Vec<_>>(),
            ["d/a & b", "d/\u{fffe}"]
        );
        assert_eq!((objects[0].0.version.as_deref(), objects[0].0.checksums.len()), (Some("\"0x8D\""), 1));
        assert_eq!((objects[1].0.size, objects[1].0.checksums.len()), (Some(0), 0));
        assert_eq!(page.next(), Some("more"));
    }

    #[test]
    fn the_last_page_may_be_empty() {
        let page = page("<Blobs /><NextMarker />");
        assert!(page.objects().unwrap().is_empty() && page.next().is_none());
    }

    #[test]
    fn folders_are_told_from_empty_files() {
        let blob = |size: u8, more: &str| {
            let blob = format!(
                "<Blobs><Blob><Name>d</Name><Properties><Content-Length>{size}</Content-Length>{more}</Blob></Blobs>"
            );
            page(&blob).objects().unwrap()[0].1
        };
        assert!(blob(0, "</Properties><Metadata><other>1</other><hdi_isfolder>true</hdi_isfolder></Metadata>"));
        assert!(blob(0, "<ResourceType>directory</ResourceType></Properties>"));
        assert!(!blob(0, "<ResourceType>file</ResourceType></Properties><Metadata><other>true</other></Metadata>"));
        assert!(!blob(1, "</Properties><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"));
    }
}
