//! The XML documents of S3.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::source::Object;

/// Longest message of a store that is kept, in characters.
const LONGEST_MESSAGE: usize = 300;

/// One page of `ListObjectsV2`.
#[derive(Deserialize, Debug)]
#[serde(rename = "ListBucketResult", rename_all = "PascalCase")]
pub struct ListPage {
    /// Whether there are more pages.
    #[serde(default)]
    pub is_truncated: bool,
    /// Asks for the next page.
    pub next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<Listed>,
    encoding_type: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    size: u64,
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

/// What S3 says when it does not do what was asked.
#[derive(Deserialize, Debug, Default)]
#[serde(rename = "Error", rename_all = "PascalCase")]
pub struct ErrorDocument {
    /// The store's own code, as `NoSuchKey`.
    pub code: Option<String>,
    /// The store's words.
    #[serde(default, deserialize_with = "short")]
    pub message: Option<String>,
}

/// Reads one document.
///
/// # Errors
///
/// When `body` is not such a document.
pub fn read<Document: DeserializeOwned>(body: &[u8]) -> Result<Document, quick_xml::DeError> {
    quick_xml::de::from_reader(body)
}

impl ListPage {
    /// The objects of the page, their keys decoded once.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactUnpackUnsafe`] when a key is not UTF-8, which no file name can be trusted to keep.
    pub fn objects(&self) -> Result<Vec<Object>, Failure> {
        let encoded = self.encoding_type.as_deref() == Some("url");
        self.contents
            .iter()
            .map(|listed| {
                let key = if encoded { decode(&listed.key)? } else { listed.key.clone() };
                Ok(Object { key, size: Some(listed.size), version: listed.etag.clone(), checksums: Vec::new() })
            })
            .collect()
    }
}

/// Decodes a key as HTML forms write it: a space is a plus sign.
fn decode(key: &str) -> Result<String, Failure> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|error| {
        Failure::new(Reason::ArtifactUnpackUnsafe, format!("the key {key:?} is not UTF-8")).caused_by(error)
    })
}

fn short<'de, Reader: serde::Deserializer<'de>>(reader: Reader) -> Result<Option<String>, Reader::Error> {
    let text = Option::<String>::deserialize(reader)?;
    Ok(text.map(|text| text.chars().filter(|character| !character.is_control()).take(LONGEST_MESSAGE).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_once_when_the_store_encodes_them() {
        let page: ListPage = read(
            b"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
              <EncodingType>url</EncodingType><Contents><Key>a+b%2Bc/%2525</Key><Size>3</Size></Contents>\
              <Contents><Key>z</Key><Size>0</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        let keys: Vec<String> = page.objects().unwrap().into_iter().map(|object| object.key).collect();
        assert_eq!(keys, ["a b+c/%25", "z"]);
        assert!(!page.is_truncated);
    }

    #[test]
    fn keys_are_kept_when_the_store_does_not_encode_them() {
        let page: ListPage =
            read(b"<ListBucketResult><Contents><Key>a+b%25 &amp;</Key><Size>1</Size></Contents></ListBucketResult>")
                .unwrap();
        assert_eq!(page.objects().unwrap(), [Object { key: "a+b%25 &".into(), size: Some(1), ..Object::default() }]);
    }

    #[test]
    fn a_message_is_cut_and_has_no_control_characters() {
        let body = format!("<Error><Code>X</Code><Message>a\u{7f}b{}</Message></Error>", "c".repeat(1000));
        let message = read::<ErrorDocument>(body.as_bytes()).unwrap().message.unwrap();
        assert!(message.starts_with("abc") && message.len() == LONGEST_MESSAGE);
    }

    #[test]
    fn a_page_of_a_web_server_is_no_error_document() {
        assert!(read::<ErrorDocument>(b"<html><body>nginx").is_err());
    }
}
